package io.github.moelora.tornado.tune;

import io.github.moelora.LoraAdapter;
import io.github.moelora.Matrix;
import io.github.moelora.MoeLora;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.Projection;
import io.github.moelora.ProjectionCall;
import io.github.moelora.Routing;
import io.github.moelora.Step;
import io.github.moelora.spi.Availability;
import io.github.moelora.spi.Backend;
import io.github.moelora.spi.BackendProvider;
import io.github.moelora.spi.BackendStep;
import io.github.moelora.spi.PlanFormat;
import io.github.moelora.spi.Tuner;
import io.github.moelora.tornado.choice.OneShotTiling;
import io.github.moelora.tornado.choice.SplitTiling;
import io.github.moelora.tornado.choice.Tiling;
import io.github.moelora.tornado.choice.Tuning;
import io.github.moelora.tornado.choice.TuningFile;
import io.github.moelora.tornado.device.DeviceTraits;
import io.github.moelora.tornado.layout.DeviceRouting;
import io.github.moelora.tornado.step.ProjectionPlan;
import io.github.moelora.tornado.step.TornadoBackend;
import io.github.moelora.tornado.weights.PackedWeights;
import io.github.moelora.tornado.weights.ProjectionWeights;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;
import uk.ac.manchester.tornado.api.common.TornadoDevice;

/** Times both projections of the first layer, for every block size and split. */
public final class TornadoTuner implements Tuner {
  /** Splits to try, in items per work-group of the one-shot kernel. */
  private static final int[] ITEMS_PER_GROUP = {1, 2, 4};

  /** Times every choice so often, in turn, so that a busy moment does not decide. */
  private static final int PASSES = 2;

  private final String deviceName;
  private final Tuning.Shape shape;
  private final boolean packed;
  private final List<Integer> blockSizes;
  private final TornadoBackend backend;
  private final DeviceRouting plans;
  private final List<TuningTimer> timers = new ArrayList<>();
  private final TuningResults results = new TuningResults();
  private final MoeLora lora;
  private final Step step;

  // of the plan that the arrays hold
  private int blockSize = 1;
  private int activePairs;
  private int groups;

  private boolean closed;

  /**
   * @param description of the device, for people
   */
  public TornadoTuner(MoeLoraConfig config, TornadoDevice device, String description) {
    deviceName = Tuning.deviceName(device);
    shape = Tuning.Shape.of(config);
    boolean tensorCores = DeviceTraits.hasTensorCores(device);
    packed = tensorCores && PackedWeights.suits(config);
    blockSizes = Tuning.blockSizes(config, packed);
    backend = new TornadoBackend(config, description, tensorCores);
    int pairs = config.maxPairs();
    plans =
        DeviceRouting.of(PlanFormat.sortedCapacity(config, backend.maxBlockSize()), pairs, pairs);
    plans.counts().init(0);
    int layer = config.model().layers().getFirst();
    for (Projection projection : Projection.values()) {
      ProjectionWeights weights = backend.weights(layer, projection);
      timers.add(
          weights instanceof PackedWeights tuned
              ? new TuningPlan(
                  config,
                  tuned,
                  plans,
                  kernels(config, projection),
                  DeviceTraits.hasGraphCapture(device))
              : new TuningRun(config, weights));
    }
    lora = MoeLora.open(config, new Provider());
    step = lora.newStep();
  }

  /** The tuned kernels, in the order of {@link #kernel}. */
  private List<Tiling> kernels(MoeLoraConfig config, Projection projection) {
    List<Tiling> kernels = new ArrayList<>();
    kernels.add(OneShotTiling.pairs());
    kernels.add(OneShotTiling.twoRows());
    kernels.addAll(SplitTiling.all(config, projection));
    return kernels;
  }

  /** Index of the kernel that a run takes for the plan. */
  private int kernel(int pairs) {
    if (blockSize == 1 && pairs > ProjectionPlan.SMALL_CHUNK) {
      return 1;
    }
    return blockSizes.indexOf(blockSize);
  }

  @Override
  public String device() {
    return lora.device();
  }

  @Override
  public String usage(Path file) {
    return "-D%s=%s".formatted(Tuning.PROPERTY, file);
  }

  @Override
  public void load(int slot, LoraAdapter adapter) {
    lora.load(slot, adapter);
  }

  @Override
  public Measurement measure(
      int tokens, MemorySegment expertIds, MemorySegment routingWeights, MemorySegment adapterIds) {
    if (results.isEmpty()) {
      // the JVM has not compiled the host's side yet
      pass(tokens, expertIds, routingWeights, adapterIds);
    }
    List<TuningResults.Timed> times = pass(tokens, expertIds, routingWeights, adapterIds);
    for (int pass = 1; pass < PASSES; pass++) {
      List<TuningResults.Timed> again = pass(tokens, expertIds, routingWeights, adapterIds);
      for (int i = 0; i < times.size(); i++) {
        times.set(i, times.get(i).best(again.get(i)));
      }
    }
    int builtIn = backend.blockSize(activePairs, groups);
    results.add(new TuningResults.Batch(activePairs, groups, builtIn, times));
    List<Choice> choices = new ArrayList<>();
    int last = 0;
    for (TuningResults.Timed timed : times) {
      boolean first = timed.blockSize() != last;
      last = timed.blockSize();
      choices.add(new Choice(timed.name(), timed.nanos(), first && timed.blockSize() == builtIn));
    }
    return new Measurement(activePairs, groups, choices);
  }

  /** Times every choice once; of each block size the built-in split first. */
  private List<TuningResults.Timed> pass(
      int tokens, MemorySegment expertIds, MemorySegment routingWeights, MemorySegment adapterIds) {
    List<TuningResults.Timed> times = new ArrayList<>();
    for (int size : blockSizes) {
      blockSize = size;
      step.plan(tokens, expertIds, routingWeights, adapterIds);
      times.addAll(time(step.routing()));
    }
    return times;
  }

  /** Times the plan with the built-in split, then with each other that cuts it differently. */
  private List<TuningResults.Timed> time(Routing routing) {
    int kernel = kernel(routing.pairs());
    if (!packed || kernel > 1) {
      return List.of(time(routing, kernel, null));
    }
    OneShotTiling builtIn = kernel == 0 ? OneShotTiling.pairs() : OneShotTiling.twoRows();
    List<TuningResults.Timed> times = new ArrayList<>();
    times.add(time(routing, kernel, builtIn));
    int blocks = Math.max(1, activePairs / blockSize);
    for (int perGroup : ITEMS_PER_GROUP) {
      int items = perGroup * builtIn.groups();
      if (Math.max(1, items / blocks) != Math.max(1, builtIn.targetItems() / blocks)) {
        times.add(time(routing, kernel, builtIn.withTargetItems(items)));
      }
    }
    return times;
  }

  private TuningResults.Timed time(Routing plan, int kernel, @Nullable OneShotTiling split) {
    double nanos = timers.stream().mapToDouble(timer -> timer.nanos(plan, kernel, split)).sum();
    return new TuningResults.Timed(blockSize, split, nanos);
  }

  @Override
  public void write(Path file) throws IOException {
    TuningFile.write(file, results.tuning(deviceName, shape));
  }

  @Override
  public void close() {
    if (!closed) {
      closed = true;
      lora.close();
    }
  }

  /** Lets {@link MoeLora} check adapters and plan batches for the tuner. */
  private final class Provider implements BackendProvider, Backend {
    @Override
    public String name() {
      return "tornado";
    }

    @Override
    public Availability probe() {
      return new Availability.Usable(device(), 0);
    }

    @Override
    public Backend open(MoeLoraConfig config) {
      return this;
    }

    @Override
    public String device() {
      return backend.device();
    }

    @Override
    public PreparedAdapter prepare(int slot, LoraAdapter adapter) {
      List<ProjectionWeights.Packed> weights =
          backend.weights().subList(0, timers.size()).stream()
              .map(each -> each.pack(adapter))
              .toList();
      return new PreparedAdapter() {
        @Override
        public void commit() {
          for (int i = 0; i < timers.size(); i++) {
            weights.get(i).stage(slot);
            do {
              timers.get(i).upload();
            } while (weights.get(i).stageNext());
          }
        }

        @Override
        public void close() {
          // only heap memory
        }
      };
    }

    @Override
    public void unload(int slot) {
      throw new UnsupportedOperationException("a tuner keeps its adapters");
    }

    @Override
    public BackendStep newStep() {
      return new Planner();
    }

    @Override
    public void close() {
      timers.forEach(TuningTimer::close);
      backend.close();
    }
  }

  /** Plans in blocks of the size in turn, and copies into the arrays that go to the device. */
  private final class Planner implements BackendStep {
    @Override
    public int maxBlockSize() {
      return backend.maxBlockSize();
    }

    @Override
    public int blockSize(int pairsWithWork, int groupsWithWork) {
      activePairs = pairsWithWork;
      groups = groupsWithWork;
      return blockSize;
    }

    @Override
    public void planned(Routing routing) {
      routing.copyTo(plans.hostArrays());
    }

    @Override
    public void plannedDense(Routing routing) {
      // what is measured is experts
    }

    @Override
    public void run(ProjectionCall call, Matrix x, Matrix y) {
      throw new UnsupportedOperationException("a tuner only measures");
    }

    @Override
    public void close() {
      // the arrays are the tuner's
    }
  }
}
