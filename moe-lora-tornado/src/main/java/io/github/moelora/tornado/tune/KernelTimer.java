package io.github.moelora.tornado.tune;

import io.github.moelora.MoeLoraConfig;
import io.github.moelora.Projection;
import io.github.moelora.ProjectionCall;
import io.github.moelora.Routing;
import io.github.moelora.tornado.choice.OneShotTiling;
import io.github.moelora.tornado.choice.Tiling;
import io.github.moelora.tornado.device.ChosenDevice;
import io.github.moelora.tornado.device.DeviceTraits;
import io.github.moelora.tornado.device.FirstUse;
import io.github.moelora.tornado.kernels.SmallKernels;
import io.github.moelora.tornado.launch.NarrowArrays;
import io.github.moelora.tornado.launch.NarrowLaunch;
import io.github.moelora.tornado.launch.Target;
import io.github.moelora.tornado.layout.DevicePlan;
import io.github.moelora.tornado.layout.Sizes;
import io.github.moelora.tornado.weights.PackedWeights;
import java.lang.foreign.ValueLayout;
import java.util.ArrayList;
import java.util.List;
import java.util.SplittableRandom;
import org.jspecify.annotations.Nullable;
import uk.ac.manchester.tornado.api.GridScheduler;
import uk.ac.manchester.tornado.api.ImmutableTaskGraph;
import uk.ac.manchester.tornado.api.TaskGraph;
import uk.ac.manchester.tornado.api.TornadoExecutionPlan;
import uk.ac.manchester.tornado.api.enums.DataTransferMode;
import uk.ac.manchester.tornado.api.types.arrays.FloatArray;
import uk.ac.manchester.tornado.api.types.arrays.HalfFloatArray;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;
import uk.ac.manchester.tornado.api.types.arrays.TornadoNativeArray;

/**
 * Times the narrow kernels of one projection with everything on the device: weights, plan, x, y.
 *
 * <p>Where a graph can be captured, the time is the device's: the difference between a captured
 * graph that computes once and one that computes {@link #REPEATS} times, both of which cost the
 * host the same. Elsewhere it is the host's time of a graph that computes once.
 */
final class KernelTimer implements TuningTimer {
  /** More would exceed the bytecode that TornadoVM reserves for a graph unless told. */
  private static final int REPEATS = 5;

  private static final int UPLOAD = 0;
  private static final int LOAD = 1;
  private static final int FIRST_KERNEL = 2;

  private static final long WARM_UP_NANOS = 30_000_000;

  private final MoeLoraConfig config;
  private final PackedWeights weights;
  private final ProjectionCall call;
  private final DevicePlan routing;
  private final List<Tiling> tilings;
  private final boolean capture;
  private final TornadoExecutionPlan plan;

  /** By graph. */
  private final boolean[] compiled;

  /**
   * @param plans arrays that plans are written to; their sizes are not used
   * @param tilings the kernels to time
   * @param device to measure on
   */
  KernelTimer(
      MoeLoraConfig config,
      PackedWeights weights,
      DevicePlan plans,
      List<Tiling> tilings,
      ChosenDevice device) {
    this.config = config;
    this.weights = weights;
    this.tilings = tilings;
    capture = DeviceTraits.hasGraphCapture(device.device());
    boolean gateUp = weights.projection() == Projection.GATE_UP;
    call = gateUp ? ProjectionCall.gateUp(weights.layer()) : ProjectionCall.down(weights.layer());
    routing = plans.withSizes(new IntArray(Sizes.COUNT));
    routing.sizes().init(0);
    int xRows = call.pairRows() ? config.maxPairs() : config.maxTokens();
    int xElements = Math.multiplyExact(xRows, config.model().inputWidth(weights.projection()));
    int yElements =
        Math.multiplyExact(config.maxPairs(), config.model().outputWidth(weights.projection()));
    HalfFloatArray x = new HalfFloatArray(xElements);
    TornadoNativeArray y = PackedWeights.words(config.weightType(), yElements);
    FloatArray z = new FloatArray(zElements());
    randomize(x);
    y.getSegment().fill((byte) 0);
    z.init(0);

    List<Object> resident = new ArrayList<>(List.of(weights.resident()));
    resident.addAll(List.of(routing.all()));
    resident.addAll(List.of(x, y, z));
    GridScheduler scheduler = new GridScheduler();
    List<ImmutableTaskGraph> graphs = new ArrayList<>();
    graphs.add(weights.uploadGraph().snapshot());
    graphs.add(
        new TaskGraph(name("load"))
            .consumeFromDevice(weights.uploadName(), weights.resident())
            .transferToDevice(DataTransferMode.EVERY_EXECUTION, routing.all())
            .transferToDevice(DataTransferMode.EVERY_EXECUTION, x, y)
            .task("clear", SmallKernels::clear, z)
            .persistOnDevice(resident.toArray())
            .snapshot());
    addKernels(graphs, scheduler, new NarrowArrays(routing, x, z, y), resident.toArray());
    plan = new TornadoExecutionPlan(graphs.toArray(ImmutableTaskGraph[]::new));
    compiled = new boolean[graphs.size()];
    device.use(plan);
    plan.withGridScheduler(scheduler);
    if (capture) {
      for (int i = FIRST_KERNEL; i < graphs.size(); i++) {
        plan.withGraph(i).withCUDAGraph();
      }
    }
  }

  /** Adds the graphs of each kernel: one that computes once, and where that helps one of many. */
  private void addKernels(
      List<ImmutableTaskGraph> graphs,
      GridScheduler scheduler,
      NarrowArrays arrays,
      Object[] resident) {
    for (int kernel = 0; kernel < tilings.size(); kernel++) {
      for (int repeats : capture ? new int[] {1, REPEATS} : new int[] {1}) {
        TaskGraph graph =
            new TaskGraph(name("kernel" + kernel + "x" + repeats))
                .consumeFromDevice(name("load"), resident);
        for (int i = 0; i < repeats; i++) {
          NarrowLaunch.append(
              new Target(graph, graph.getTaskGraphName(), scheduler),
              "t" + i,
              config,
              weights,
              tilings.get(kernel),
              arrays);
        }
        graphs.add(graph.persistOnDevice(resident).snapshot());
      }
    }
  }

  private String name(String graph) {
    return "tune_%s_%s".formatted(weights.projection(), graph);
  }

  private int zElements() {
    int most = 1;
    for (Tiling tiling : tilings) {
      int groups = config.slots() * config.expertMap().localExperts();
      int pairs = config.maxPairs();
      int blocks = pairs / tiling.rows() + Math.min(pairs, groups);
      most = Math.max(most, tiling.zElements(config, blocks));
    }
    return most;
  }

  private static void randomize(HalfFloatArray x) {
    SplittableRandom random = new SplittableRandom(1);
    for (long i = 0; i < x.getSize(); i++) {
      // small numbers of either type
      x.getSegment()
          .setAtIndex(ValueLayout.JAVA_SHORT, i, (short) (0x3000 | random.nextInt(0x400)));
    }
  }

  @Override
  public void upload() {
    execute(UPLOAD);
  }

  private void execute(int graph) {
    if (compiled[graph]) {
      plan.withGraph(graph).execute();
    } else {
      FirstUse.run(() -> plan.withGraph(graph).execute());
      compiled[graph] = true;
    }
  }

  /** Times the plan that the arrays hold, which must be {@code planned}. */
  @Override
  public double nanos(Routing planned, int kernel, @Nullable OneShotTiling oneShot) {
    NarrowLaunch.writeSizes(
        routing.sizes(),
        config,
        call,
        config.model().outputWidth(weights.projection()),
        oneShot == null ? tilings.get(kernel) : oneShot);
    execute(LOAD);
    int one = FIRST_KERNEL + (capture ? 2 : 1) * kernel;
    for (int graph = one; graph < one + (capture ? 2 : 1); graph++) {
      execute(graph);
    }
    CapturedTimer timer = new CapturedTimer(plan, WARM_UP_NANOS);
    if (!capture) {
      return timer.medians(one)[0];
    }
    CapturedTimer.Time time = timer.measure(one, one + 1, REPEATS);
    // a difference can drown in noise; then the whole is known to be small
    return time.nanos() > 0 ? time.nanos() : time.callNanos() / REPEATS;
  }

  @Override
  public void close() {
    // of the graph that names most arrays; freeing one in a second graph is an error
    plan.withGraph(LOAD).freeDeviceMemory();
  }
}
