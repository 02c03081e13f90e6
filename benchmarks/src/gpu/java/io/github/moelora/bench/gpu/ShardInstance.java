package io.github.moelora.bench.gpu;

import io.github.moelora.DType;
import io.github.moelora.LoraAdapter;
import io.github.moelora.Matrix;
import io.github.moelora.MoeLora;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.MoeModel;
import io.github.moelora.Projection;
import io.github.moelora.ProjectionCall;
import io.github.moelora.Step;
import io.github.moelora.tornado.EngineArrays;
import io.github.moelora.tornado.EngineGraph;
import io.github.moelora.tornado.EngineTasks;
import io.github.moelora.tornado.device.ChosenDevice;
import io.github.moelora.tornado.device.DeviceTraits;
import io.github.moelora.tornado.step.TornadoBackend;
import io.github.moelora.tornado.tune.CapturedTimer;
import io.github.moelora.workload.Batch;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;
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
 * The LoRA layer of a model, or of one shard of it, on a device: gate/up, then down, on device
 * arrays in an engine's graphs. Used by one thread at a time.
 */
final class ShardInstance implements AutoCloseable {
  private static final int FILL = 0;
  private static final int ONE = 1;
  private static final int MANY = 2;
  private static final int REPEATS = 5;
  private static final long WARM_UP_NANOS = 50_000_000;

  /** Arrays of one projection. */
  private record Arrays(TornadoNativeArray x, TornadoNativeArray y, int xWidth, int yWidth) {}

  private final MoeLora lora;
  private final Step step;
  private final DType type;
  private final Arrays gateUp;
  private final Arrays down;
  private final IntArray flag = new IntArray(1);
  private final TornadoExecutionPlan plan;

  /**
   * @param config sizes of the shard, its experts and its device
   * @param adapters of the shard, by slot
   * @param batch as many tokens as the config says
   */
  ShardInstance(MoeLoraConfig config, List<LoraAdapter> adapters, Batch batch) {
    lora = MoeLora.open(config, "tornado");
    EngineTasks tasks = EngineTasks.of(lora);
    step = lora.newStep();
    ChosenDevice device = ((TornadoBackend) lora.backend()).chosenDevice();
    boolean narrow = device.hasTensorCores() && config.weightType() != DType.F32;
    type = narrow ? config.weightType() : DType.F32;
    gateUp = arrays(config, Projection.GATE_UP, batch.tokens());
    down = arrays(config, Projection.DOWN, batch.pairs());
    flag.init(0);
    plan = makePlan(tasks, device, config.maxTokens());
    for (int slot = 0; slot < adapters.size(); slot++) {
      lora.load(slot, adapters.get(slot));
    }
    step.plan(
        batch.tokens(),
        MemorySegment.ofArray(batch.expertIds()),
        MemorySegment.ofArray(batch.routingWeights()),
        MemorySegment.ofArray(batch.adapterIds()));
    tasks.begin(step);
  }

  private Arrays arrays(MoeLoraConfig config, Projection projection, int xRows) {
    MoeModel model = config.model();
    int xWidth = model.inputWidth(projection);
    int yWidth = model.outputWidth(projection);
    int xSize = Math.multiplyExact(xRows, xWidth);
    int ySize = Math.multiplyExact(config.maxPairs(), yWidth);
    TornadoNativeArray x = type == DType.F32 ? new FloatArray(xSize) : new HalfFloatArray(xSize);
    TornadoNativeArray y =
        switch (type) {
          case F32 -> new FloatArray(ySize);
          case F16 -> new HalfFloatArray(ySize);
          case BF16 -> new IntArray(ySize / 2);
        };
    return new Arrays(x, y, xWidth, yWidth);
  }

  private TornadoExecutionPlan makePlan(EngineTasks tasks, ChosenDevice device, int maxTokens) {
    Object[] own = {gateUp.x(), gateUp.y(), down.x(), down.y(), flag};
    GridScheduler scheduler = new GridScheduler();
    List<ImmutableTaskGraph> graphs = new ArrayList<>();
    graphs.add(
        new TaskGraph("fill")
            .transferToDevice(DataTransferMode.EVERY_EXECUTION, own)
            .task("touch", BenchCopy::touch, flag)
            .persistOnDevice(own)
            .snapshot());
    for (int repeats : new int[] {1, REPEATS}) {
      TaskGraph graph = new TaskGraph("layer" + repeats).consumeFromDevice("fill", own);
      EngineGraph engine = new EngineGraph(graph, graphs.size(), maxTokens);
      for (int i = 0; i < repeats; i++) {
        tasks.append(
            engine,
            ProjectionCall.gateUp(0),
            new EngineArrays(gateUp.x(), gateUp.y(), gateUp.yWidth()));
        tasks.append(
            engine, ProjectionCall.down(0), new EngineArrays(down.x(), down.y(), down.yWidth()));
      }
      graph.persistOnDevice(own);
      graph.transferToHost(DataTransferMode.UNDER_DEMAND, gateUp.y(), down.y());
      graphs.add(graph.snapshot());
    }
    int first = graphs.size();
    graphs.addAll(tasks.graphs());
    tasks.addGrids(scheduler);
    TornadoExecutionPlan made = new TornadoExecutionPlan(graphs.toArray(ImmutableTaskGraph[]::new));
    device.use(made);
    if (!scheduler.keySet().isEmpty()) {
      made.withGridScheduler(scheduler);
    }
    if (DeviceTraits.hasGraphCapture(device.device())) {
      made.withGraph(ONE).withCUDAGraph();
      made.withGraph(MANY).withCUDAGraph();
    }
    tasks.attach(made, first);
    return made;
  }

  /** Device, for people. */
  String device() {
    return lora.device();
  }

  /** Type of x and y. */
  DType type() {
    return type;
  }

  /** Rows of x of a projection, on the host. */
  Matrix x(Projection projection) {
    Arrays arrays = projection == Projection.DOWN ? down : gateUp;
    return matrix(arrays.x(), arrays.xWidth());
  }

  /** Rows of y of a projection, on the host. */
  Matrix y(Projection projection) {
    Arrays arrays = projection == Projection.DOWN ? down : gateUp;
    return matrix(arrays.y(), arrays.yWidth());
  }

  private Matrix matrix(TornadoNativeArray array, int width) {
    long rows = array.getSegment().byteSize() / type.bytes() / width;
    return Matrix.of(array.getSegment(), type, (int) rows, width);
  }

  /** Computes the layer once from y of zeros; y is on the host then. */
  void compute() {
    clear();
    plan.withGraph(FILL).execute();
    plan.withGraph(ONE).execute().transferToHost(gateUp.y(), down.y());
  }

  private void clear() {
    gateUp.y().getSegment().fill((byte) 0);
    down.y().getSegment().fill((byte) 0);
  }

  /** Nanoseconds of one layer on the device. */
  double layerNanos() {
    clear();
    plan.withGraph(FILL).execute();
    CapturedTimer.Time time = new CapturedTimer(plan, WARM_UP_NANOS).measure(ONE, MANY, REPEATS);
    return time.nanos() > 0 ? time.nanos() : time.callNanos();
  }

  /** Computes layers for a while: {@code runs} times as many as one graph has. */
  void runLayers(int runs) {
    for (int i = 0; i < runs; i++) {
      plan.withGraph(MANY).execute();
    }
  }

  @Override
  public void close() {
    step.close();
    lora.close();
    plan.withGraph(FILL).freeDeviceMemory();
  }
}
