package io.github.moelora;

import io.github.moelora.spi.BackendStep;
import io.github.moelora.spi.HostPlanner;
import java.lang.foreign.MemorySegment;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/**
 * One batch at a time: {@link #plan} once per batch, {@link #run} once per layer and projection.
 * Allocates nothing per batch. Used by one thread at a time; a second one is refused ({@link
 * IllegalStateException}).
 */
public final class Step implements AutoCloseable {
  private static final VarHandle USER = userHandle();

  private final MoeLora lora;
  private final BackendStep backendStep;
  private final HostPlanner planner;
  private final Routing routing;

  /** State of all slots as the newest plan, refused or not, found it. */
  private final boolean[] active;

  private final long[] generations;

  /** Change counts of the slots as the plan in force found them. */
  private final long[] plannedGenerations;

  /** The slots that the plan names, ascending; the first {@link #namedCount}. */
  private final int[] namedSlots;

  private int namedCount;
  private final long[] stamps;

  /** The thread that plans or runs at present. */
  private volatile @Nullable Thread user;

  private boolean planned;
  private volatile boolean closed;

  Step(MoeLora lora, BackendStep backendStep) {
    int slots = lora.config().slots();
    this.lora = lora;
    this.backendStep = backendStep;
    this.planner = new HostPlanner(lora.config(), backendStep);
    this.routing = planner.routing();
    this.active = new boolean[slots];
    this.generations = new long[slots];
    this.plannedGenerations = new long[slots];
    this.namedSlots = new int[slots];
    this.stamps = new long[slots + 1];
  }

  private static VarHandle userHandle() {
    try {
      return MethodHandles.lookup().findVarHandle(Step.class, "user", Thread.class);
    } catch (ReflectiveOperationException e) {
      throw new ExceptionInInitializerError(e);
    }
  }

  /**
   * Groups the pairs of a batch; the arguments are copied. If one is refused, the last plan stands.
   *
   * @param tokens {@code T} in {@code [0, maxTokens]}
   * @param expertIds in, int32 {@code [T, K]}, global expert ids in {@code [-1, E)}; -1 skips the
   *     pair
   * @param routingWeights in, float32 {@code [T, K]}, finite
   * @param adapterIds in, int32 {@code [T]}, slots in {@code [-1, L)}; -1 is no adapter
   * @throws IllegalArgumentException naming the first element outside its range
   */
  public void plan(
      int tokens, MemorySegment expertIds, MemorySegment routingWeights, MemorySegment adapterIds) {
    Checks.readable("expertIds", expertIds);
    Checks.readable("routingWeights", routingWeights);
    Checks.readable("adapterIds", adapterIds);
    enter();
    try {
      long stamp = lora.locks().lockShared();
      try {
        requireOpen();
        planLocked(tokens, expertIds, routingWeights, adapterIds);
      } finally {
        lora.locks().unlockShared(stamp);
      }
    } finally {
      user = null;
    }
  }

  private void planLocked(
      int tokens, MemorySegment expertIds, MemorySegment routingWeights, MemorySegment adapterIds) {
    lora.copySlotStates(active, generations);
    planner.plan(tokens, expertIds, routingWeights, adapterIds, active);
    // should the backend fail to take the plan, there is none
    planned = false;
    backendStep.planned(routing);
    System.arraycopy(generations, 0, plannedGenerations, 0, generations.length);
    namedCount = 0;
    for (int slot = 0; slot < generations.length; slot++) {
      if (routing.namesSlot(slot)) {
        namedSlots[namedCount++] = slot;
      }
    }
    planned = true;
  }

  /**
   * Computes the LoRA delta of one projection for all pairs of the plan. {@code y} holds the result
   * on return.
   *
   * @param x in, at least {@code [T, H]}, or {@code [P, H]} if {@code call.pairRows()}; rows
   *     contiguous
   * @param y in and out, at least {@code [P, columnOffset + S*O]}; rows contiguous and not
   *     overlapping
   * @throws IllegalArgumentException if a size does not fit; nothing is written
   * @throws StalePlanException if a slot named by the plan has changed since
   */
  public void run(ProjectionCall call, Matrix x, Matrix y) {
    Objects.requireNonNull(call, "call must not be null");
    Objects.requireNonNull(x, "x must not be null");
    Objects.requireNonNull(y, "y must not be null");
    enter();
    try {
      lora.locks().lockRun(namedSlots, namedCount, stamps);
      try {
        requireFreshLocked();
        requireArguments(call, x, y);
        if (routing.pairs() > 0) {
          FlightRecords.run(this, call, x, y);
        }
      } finally {
        lora.locks().unlockRun(namedSlots, namedCount, stamps);
      }
    } finally {
      user = null;
    }
  }

  /** Takes the step for the calling thread until {@link #user} is null again. */
  private void enter() {
    Thread thread = Thread.currentThread();
    if (!USER.compareAndSet(this, null, thread)) {
      throw new IllegalStateException(
          "step must be used by one thread at a time, got %s while %s uses it; make a step for each"
                  .formatted(thread, user)
              + " with newStep()");
    }
  }

  /** The plan, for engines that read it on their own device and for measurements. */
  public Routing routing() {
    return routing;
  }

  /** The backend's part, for what only it can do, such as joining an engine's own task graph. */
  public BackendStep backendStep() {
    return backendStep;
  }

  /**
   * Checks that the plan may still be run; {@link #run} does so by itself. Waits for a change of a
   * slot that is under way.
   *
   * @throws StalePlanException if a slot named by the plan has changed since
   * @throws IllegalStateException if nothing is planned yet or the step is closed
   */
  public void requireFresh() {
    enter();
    try {
      lora.locks().lockRun(namedSlots, namedCount, stamps);
      try {
        requireFreshLocked();
      } finally {
        lora.locks().unlockRun(namedSlots, namedCount, stamps);
      }
    } finally {
      user = null;
    }
  }

  private void requireFreshLocked() {
    requireOpen();
    if (!planned) {
      throw new IllegalStateException("plan must be called before run");
    }
    for (int i = 0; i < namedCount; i++) {
      int slot = namedSlots[i];
      if (lora.generation(slot) != plannedGenerations[slot]) {
        throw new StalePlanException(slot);
      }
    }
  }

  private void requireArguments(ProjectionCall call, Matrix x, Matrix y) {
    MoeModel model = lora.config().model();
    Checks.accessible("x.data", x.data());
    Checks.accessible("y.data", y.data());
    model.layerIndex(call.layer());
    int inputWidth = model.inputWidth(call.projection());
    int outputWidth = model.outputWidth(call.projection());
    Checks.atLeast("x.rows", x.rows(), call.pairRows() ? routing.pairs() : routing.tokens());
    if (x.columns() != inputWidth) {
      throw new IllegalArgumentException(
          "x.columns must be %d, got %d".formatted(inputWidth, x.columns()));
    }
    Checks.atLeast("y.rows", y.rows(), routing.pairs());
    Checks.atLeast("y.columns", y.columns(), (long) call.columnOffset() + outputWidth);
    if (!x.hasContiguousRows()) {
      throw new IllegalArgumentException("x.columnStride must be 1, got " + x.columnStride());
    }
    if (!y.hasContiguousRows()) {
      throw new IllegalArgumentException("y.columnStride must be 1, got " + y.columnStride());
    }
    if (y.rows() > 1) {
      Checks.atLeast("y.rowStride", y.rowStride(), y.columns());
    }
    if (y.data().isReadOnly()) {
      throw new IllegalArgumentException("y.data must be writable, got a read-only segment");
    }
  }

  private void requireOpen() {
    if (closed) {
      throw new IllegalStateException("Step is closed");
    }
  }

  /** Frees the step's buffers; closing twice does nothing. */
  @Override
  public void close() {
    lora.close(this);
  }

  /** Called under the write lock, so no run is under way. */
  void closeBackendStep() {
    if (!closed) {
      closed = true;
      backendStep.close();
    }
  }
}
