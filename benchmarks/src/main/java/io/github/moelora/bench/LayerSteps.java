package io.github.moelora.bench;

import io.github.moelora.DType;
import io.github.moelora.Matrix;
import io.github.moelora.ProjectionCall;
import io.github.moelora.workload.Batch;
import io.github.moelora.workload.Bits;
import io.github.moelora.workload.Workload;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;

/**
 * Steps as a model takes them: layer after layer, each with a routing of its own; plan, gate and
 * up, down. Used by one thread at a time.
 */
public final class LayerSteps implements AutoCloseable {
  private static final long SEED = 1;

  private final Workload workload;
  private final Arena arena = Arena.ofShared();
  private final Meter meter = Meter.shared();
  private final List<Planned> steps = new ArrayList<>();
  private final Matrix xGateUp;
  private final Matrix yGateUp;
  private final Matrix xDown;
  private final Matrix yDown;
  private int next;

  /** A step's arguments, made once. */
  private record Planned(
      int tokens,
      MemorySegment expertIds,
      MemorySegment routingWeights,
      MemorySegment adapterIds,
      ProjectionCall gateUp,
      ProjectionCall down,
      double weightBytes,
      double flops) {}

  /**
   * Loads random adapters and checks one step of the first layer against the reference.
   *
   * @param sizes the workload, whose {@code maxTokens} are the tokens of each step
   * @param routings different routings of each layer
   * @param backend name of the backend
   */
  public LayerSteps(Workload.Sizes sizes, int routings, String backend) {
    this(sizes, routings, backend, StepMemory.NATIVE);
  }

  /**
   * The same with a choice of memory.
   *
   * @param memory where x and y lie
   */
  LayerSteps(Workload.Sizes sizes, int routings, String backend, StepMemory memory) {
    workload = Workload.open(sizes, backend, SEED);
    Batch first = workload.batch(sizes.maxTokens());
    xGateUp = moved(workload.x(arena, ProjectionCall.gateUp(0), first), memory);
    yGateUp = moved(workload.y(arena, ProjectionCall.gateUp(0), first), memory);
    xDown = moved(workload.x(arena, ProjectionCall.down(0), first), memory);
    yDown = moved(workload.y(arena, ProjectionCall.down(0), first), memory);
    requireWithinBound(workload.check(ProjectionCall.gateUp(0), first, xGateUp, yGateUp));
    requireWithinBound(workload.check(ProjectionCall.down(0), first, xDown, yDown));
    for (int routing = 0; routing < routings; routing++) {
      for (int layer = 0; layer < sizes.layers(); layer++) {
        steps.add(planned(sizes, layer));
      }
    }
  }

  private static Matrix moved(Matrix from, StepMemory memory) {
    if (memory == StepMemory.NATIVE) {
      return from;
    }
    int elements = Math.multiplyExact(from.rows(), from.columns());
    MemorySegment data;
    if (memory == StepMemory.BYTES) {
      data = MemorySegment.ofArray(new byte[Math.multiplyExact(elements, from.type().bytes())]);
    } else if (from.type() == DType.F32) {
      data = MemorySegment.ofArray(new float[elements]);
    } else {
      data = MemorySegment.ofArray(new short[elements]);
    }
    Matrix to = Matrix.of(data, from.type(), from.rows(), from.columns());
    Bits.copyInto(from, to);
    return to;
  }

  private static void requireWithinBound(double worst) {
    if (!(worst <= 1)) {
      throw new IllegalStateException("the result must be within its bound, got " + worst);
    }
  }

  private Planned planned(Workload.Sizes sizes, int layer) {
    Batch batch = workload.batch(sizes.maxTokens());
    ProjectionCall gateUp = ProjectionCall.gateUp(layer);
    ProjectionCall down = ProjectionCall.down(layer);
    return new Planned(
        batch.tokens(),
        MemorySegment.ofArray(batch.expertIds()),
        MemorySegment.ofArray(batch.routingWeights()),
        MemorySegment.ofArray(batch.adapterIds()),
        gateUp,
        down,
        sizes.weightBytes(gateUp, batch) + sizes.weightBytes(down, batch),
        sizes.flops(gateUp, batch) + sizes.flops(down, batch));
  }

  /** Runs the next step and reports it to the meter. */
  public void run() {
    Planned planned = next();
    meter.begin();
    plan(planned);
    workload.run(planned.gateUp(), xGateUp, yGateUp);
    workload.run(planned.down(), xDown, yDown);
    meter.end(planned.weightBytes(), planned.flops());
  }

  /** Plans the next step, and runs nothing. */
  void plan() {
    plan(next());
  }

  private Planned next() {
    Planned planned = steps.get(next);
    next = next + 1 == steps.size() ? 0 : next + 1;
    return planned;
  }

  private void plan(Planned planned) {
    workload
        .step()
        .plan(
            planned.tokens(), planned.expertIds(), planned.routingWeights(), planned.adapterIds());
  }

  @Override
  public void close() {
    workload.close();
    arena.close();
  }
}
