package io.github.moelora;

import io.github.moelora.spi.BackendStep;
import io.github.moelora.spi.BlockRule;
import io.github.moelora.spi.HostPlanner;
import java.lang.foreign.MemorySegment;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.util.Arrays;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/**
 * One batch at a time: {@link #plan} once per batch, {@link #run} once per layer and projection.
 * Allocates nothing per batch. Used by one thread at a time; a second one is refused ({@link
 * IllegalStateException}).
 *
 * <p>Dense modules need no experts, so their plan depends on the tokens' adapters alone. {@link
 * #planDense} makes it before a router has run; {@link #plan} makes it too, or keeps it where
 * neither the tokens' adapters nor the slots have changed. So an engine that routes each layer on
 * the host plans the experts of every layer, and the dense modules once.
 */
public final class Step implements AutoCloseable {
  private static final VarHandle USER = userHandle();

  private final MoeLora lora;
  private final BackendStep backendStep;
  private final Plan experts;

  /** Null where the model has no dense modules. */
  private final @Nullable Plan dense;

  /** Adapters of the tokens of the dense plan, {@code [maxTokens]}. */
  private final MemorySegment denseAdapterIds;

  /** Expert 0 for each token, and no routing weight. */
  private final MemorySegment zeros;

  /** State of all slots as the newest plan, refused or not, found it. */
  private final boolean[] active;

  private final long[] generations;

  private final long[] stamps;

  /** The thread that plans or runs at present. */
  private volatile @Nullable Thread user;

  private volatile boolean closed;

  /** A block list, and the slots as they were when it was made. */
  private static final class Plan {
    final HostPlanner planner;
    final Routing routing;

    /** Change count of each slot. */
    final long[] generations;

    /** The slots that it names, ascending; the first {@link #namedCount}. */
    final int[] namedSlots;

    int namedCount;
    boolean made;

    Plan(MoeLoraConfig config, BlockRule rule) {
      planner = new HostPlanner(config, rule);
      routing = planner.routing();
      generations = new long[config.slots()];
      namedSlots = new int[config.slots()];
    }

    void made(long[] slotGenerations) {
      System.arraycopy(slotGenerations, 0, generations, 0, generations.length);
      namedCount = 0;
      for (int slot = 0; slot < generations.length; slot++) {
        if (routing.namesSlot(slot)) {
          namedSlots[namedCount++] = slot;
        }
      }
      made = true;
    }

    /** Called under the locks of the named slots. */
    void requireFresh(MoeLora lora) {
      for (int i = 0; i < namedCount; i++) {
        int slot = namedSlots[i];
        if (lora.generation(slot) != generations[slot]) {
          throw new StalePlanException(slot);
        }
      }
    }
  }

  Step(MoeLora lora, BackendStep backendStep) {
    int slots = lora.config().slots();
    this.lora = lora;
    this.backendStep = backendStep;
    MoeLoraConfig config = lora.config();
    experts = new Plan(config, backendStep);
    boolean hasDense = !config.model().dense().isEmpty();
    // the plan is of no width, so any module will do
    dense =
        hasDense
            ? new Plan(config.ofDense(config.model().dense().getFirst()), backendStep.denseRule())
            : null;
    denseAdapterIds = MemorySegment.ofArray(new int[hasDense ? config.maxTokens() : 0]);
    zeros = MemorySegment.ofArray(new int[hasDense ? config.maxTokens() : 0]);
    active = new boolean[slots];
    generations = new long[slots];
    stamps = new long[slots + 1];
  }

  private static VarHandle userHandle() {
    try {
      return MethodHandles.lookup().findVarHandle(Step.class, "user", Thread.class);
    } catch (ReflectiveOperationException e) {
      throw new ExceptionInInitializerError(e);
    }
  }

  /**
   * Groups the pairs of a batch, and its tokens for dense modules; the arguments are copied. If one
   * is refused, the last plan stands.
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
    experts.planner.plan(tokens, expertIds, routingWeights, adapterIds, active);
    // should the backend fail to take the plan, there is none
    experts.made = false;
    backendStep.planned(experts.routing);
    experts.made(generations);
    if (dense != null) {
      planDense(dense, tokens, adapterIds);
    }
  }

  /**
   * Begins a batch of which only the tokens' adapters are known: groups its tokens for dense
   * modules. Calls on routed experts need {@link #plan} then. If an argument is refused, the last
   * plans stand.
   *
   * @param tokens {@code T} in {@code [0, maxTokens]}
   * @param adapterIds in, int32 {@code [T]}, slots in {@code [-1, L)}; -1 is no adapter
   * @throws IllegalArgumentException naming the first element outside its range
   * @throws IllegalStateException if the model lists no dense modules
   */
  public void planDense(int tokens, MemorySegment adapterIds) {
    Checks.readable("adapterIds", adapterIds);
    enter();
    try {
      long stamp = lora.locks().lockShared();
      try {
        requireOpen();
        planDenseLocked(tokens, adapterIds);
      } finally {
        lora.locks().unlockShared(stamp);
      }
    } finally {
      user = null;
    }
  }

  private void planDenseLocked(int tokens, MemorySegment adapterIds) {
    Plan plan = requireDense();
    lora.copySlotStates(active, generations);
    planDense(plan, tokens, adapterIds);
    if (experts.made) {
      // who reads the plan on a device must find no pairs of the batch before
      experts.made = false;
      experts.planner.plan(0, zeros, zeros, zeros, active);
    }
  }

  /** Plans for the slots as {@link #active} and {@link #generations} have them. */
  private void planDense(Plan plan, int tokens, MemorySegment adapterIds) {
    long bytes = (long) tokens * Integer.BYTES;
    if (plan.made
        && plan.routing.tokens() == tokens
        && adapterIds.byteSize() >= bytes
        && MemorySegment.mismatch(adapterIds, 0, bytes, denseAdapterIds, 0, bytes) < 0
        && Arrays.equals(generations, plan.generations)) {
      return;
    }
    plan.planner.plan(tokens, zeros, zeros, adapterIds, active);
    plan.made = false;
    MemorySegment.copy(adapterIds, 0, denseAdapterIds, 0, bytes);
    backendStep.plannedDense(plan.routing);
    plan.made(generations);
  }

  /**
   * Computes the LoRA delta of one projection for all pairs of the plan, or of one dense module for
   * all tokens. {@code y} holds the result on return.
   *
   * @param x in, at least {@code [T, H]}, or {@code [P, H]} if {@code call.pairRows()}; rows
   *     contiguous
   * @param y in and out, at least {@code [P, columnOffset + S*O]}, or {@code [T, columnOffset + O]}
   *     for a dense module; rows contiguous and not overlapping
   * @throws IllegalArgumentException if a size does not fit; nothing is written
   * @throws StalePlanException if a slot named by the plan has changed since
   */
  public void run(ProjectionCall call, Matrix x, Matrix y) {
    Objects.requireNonNull(call, "call must not be null");
    Objects.requireNonNull(x, "x must not be null");
    Objects.requireNonNull(y, "y must not be null");
    enter();
    try {
      Plan plan = plan(call);
      lockRun(plan);
      try {
        requireOpen();
        requirePlan(plan.made, call.isDense() ? "plan or planDense" : "plan");
        plan.requireFresh(lora);
        requireArguments(call, plan.routing, x, y);
        if (plan.routing.pairs() > 0) {
          FlightRecords.run(this, plan.routing, call, x, y);
        }
      } finally {
        unlockRun(plan);
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

  private Plan plan(ProjectionCall call) {
    if (!call.isDense()) {
      return experts;
    }
    int modules = lora.config().model().dense().size();
    if (call.module() >= modules) {
      throw new IllegalArgumentException(
          "module must be one of the model's %d dense modules, got %d"
              .formatted(modules, call.module()));
    }
    return requireDense();
  }

  private Plan requireDense() {
    if (dense == null) {
      throw new IllegalStateException(
          "the model must list dense modules (MoeModel.withDense), and lists none");
    }
    return dense;
  }

  /**
   * The plan of routed experts, for engines that read it on their own device and for measurements.
   */
  public Routing routing() {
    return experts.routing;
  }

  /**
   * The plan of dense modules: every token is a pair, every module the only expert 0.
   *
   * @throws IllegalStateException if the model lists no dense modules
   */
  public Routing denseRouting() {
    return requireDense().routing;
  }

  /** The backend's part, for what only it can do, such as joining an engine's own task graph. */
  public BackendStep backendStep() {
    return backendStep;
  }

  /**
   * Checks that what is planned may still be run; {@link #run} does so by itself. Waits for a
   * change of a slot that is under way.
   *
   * @throws StalePlanException if a slot named by a plan has changed since
   * @throws IllegalStateException if nothing is planned yet or the step is closed
   */
  public void requireFresh() {
    requirePlanned();
    enter();
    try {
      requireFresh(experts);
      if (dense != null) {
        requireFresh(dense);
      }
    } finally {
      user = null;
    }
  }

  /**
   * Checks that there is a plan, for engines that read it on their own device.
   *
   * @throws IllegalStateException if nothing is planned yet or the step is closed
   */
  public void requirePlanned() {
    enter();
    try {
      requireOpen();
      requirePlan(experts.made || (dense != null && dense.made), "plan");
    } finally {
      user = null;
    }
  }

  private void requireFresh(Plan plan) {
    lockRun(plan);
    try {
      requireOpen();
      if (plan.made) {
        plan.requireFresh(lora);
      }
    } finally {
      unlockRun(plan);
    }
  }

  private void lockRun(Plan plan) {
    lora.locks().lockRun(plan.namedSlots, plan.namedCount, stamps);
  }

  private void unlockRun(Plan plan) {
    lora.locks().unlockRun(plan.namedSlots, plan.namedCount, stamps);
  }

  private static void requirePlan(boolean made, String method) {
    if (!made) {
      throw new IllegalStateException(method + " must be called before run");
    }
  }

  private void requireArguments(ProjectionCall call, Routing plan, Matrix x, Matrix y) {
    MoeModel model = lora.config().model();
    Checks.accessible("x.data", x.data());
    Checks.accessible("y.data", y.data());
    if (!call.isDense()) {
      model.layerIndex(call.layer());
    }
    int inputWidth = model.inputWidth(call);
    int outputWidth = model.outputWidth(call);
    Checks.atLeast("x.rows", x.rows(), call.pairRows() ? plan.pairs() : plan.tokens());
    if (x.columns() != inputWidth) {
      throw new IllegalArgumentException(
          "x.columns must be %d, got %d".formatted(inputWidth, x.columns()));
    }
    Checks.atLeast("y.rows", y.rows(), plan.pairs());
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
