package io.github.moelora.tornado.tune;

import io.github.moelora.LoraAdapter;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.Projection;
import io.github.moelora.Routing;
import io.github.moelora.spi.BlockRule;
import io.github.moelora.spi.HostPlanner;
import io.github.moelora.spi.PlanFormat;
import io.github.moelora.spi.Tuner;
import io.github.moelora.tornado.choice.BlockChoice;
import io.github.moelora.tornado.choice.BlockLimits;
import io.github.moelora.tornado.choice.OneShotTiling;
import io.github.moelora.tornado.choice.Tuning;
import io.github.moelora.tornado.choice.TuningFile;
import io.github.moelora.tornado.device.ChosenDevice;
import io.github.moelora.tornado.device.DeviceTraits;
import io.github.moelora.tornado.layout.DevicePlan;
import io.github.moelora.tornado.step.ProjectionGraphs;
import io.github.moelora.tornado.step.TornadoBackend;
import io.github.moelora.tornado.weights.PackedWeights;
import io.github.moelora.tornado.weights.ProjectionWeights;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** Times both projections of the first layer, for every block size and number of items. */
public final class TornadoTuner implements Tuner {
  private static final Logger LOG = LoggerFactory.getLogger(TornadoTuner.class);

  /** Splits to try, in items per work-group of the one-shot kernel. */
  private static final int[] ITEMS_PER_GROUP = {1, 2, 4};

  /** Times every choice so often, in turn, so that a busy moment does not decide. */
  private static final int PASSES = 2;

  private final MoeLoraConfig config;
  private final String deviceName;
  private final Tuning.Shape shape;
  private final boolean packed;
  private final List<Integer> blockSizes;
  private final TornadoBackend backend;
  private final DevicePlan plans;
  private final List<TuningTimer> timers = new ArrayList<>();
  private final TuningResults results = new TuningResults();
  private final HostPlanner planner;

  /** Slots that hold an adapter. */
  private final boolean[] active;

  // of the plan that the arrays hold
  private int blockSize = 1;
  private int activePairs;
  private int groups;

  private boolean closed;

  /**
   * @param device to measure on
   */
  public TornadoTuner(MoeLoraConfig config, ChosenDevice device) {
    this.config = config;
    deviceName = DeviceTraits.name(device.device());
    shape = Tuning.Shape.of(config);
    packed = device.hasTensorCores() && PackedWeights.suits(config);
    blockSizes = BlockChoice.blockSizes(config, packed);
    backend = new TornadoBackend(config, device, null);
    int pairs = config.maxPairs();
    plans =
        DevicePlan.of(
            PlanFormat.sortedCapacity(config, backend.choice().maxBlockSize()), pairs, pairs);
    plans.counts().init(0);
    int layer = config.model().layers().getFirst();
    for (Projection projection : Projection.values()) {
      ProjectionWeights weights = backend.weights(layer, projection);
      timers.add(
          weights instanceof PackedWeights packedWeights
              ? new KernelTimer(
                  config,
                  packedWeights,
                  plans,
                  BlockChoice.kernels(config, projection, null),
                  device)
              : new RunTimer(config, weights, device));
    }
    active = new boolean[config.slots()];
    planner = new HostPlanner(config, new SizeInTurn());
  }

  /** Index of the kernel that a run takes for the plan. */
  private int kernel(int pairs) {
    if (blockSize == 1 && pairs > ProjectionGraphs.SMALL_CHUNK) {
      return 1;
    }
    return blockSizes.indexOf(blockSize);
  }

  @Override
  public String device() {
    return backend.device();
  }

  @Override
  public String usage(Path file) {
    return "-D%s=%s".formatted(Tuning.PROPERTY, file);
  }

  @Override
  public void load(int slot, LoraAdapter adapter) {
    if (slot < 0 || slot >= active.length) {
      throw new IllegalArgumentException(
          "slot must be in [0, %d), got %d".formatted(active.length, slot));
    }
    adapter.requireFits(config);
    List<ProjectionWeights.Packed> weights =
        backend.weights().subList(0, timers.size()).stream()
            .map(each -> each.pack(adapter))
            .toList();
    for (int i = 0; i < timers.size(); i++) {
      weights.get(i).stage(slot);
      do {
        timers.get(i).upload();
      } while (weights.get(i).stageNext());
    }
    active[slot] = true;
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
    int builtIn = backend.choice().builtIn(activePairs, groups);
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

  /** Times every choice once; of each block size the built-in number of items first. */
  private List<TuningResults.Timed> pass(
      int tokens, MemorySegment expertIds, MemorySegment routingWeights, MemorySegment adapterIds) {
    List<TuningResults.Timed> times = new ArrayList<>();
    for (int size : blockSizes) {
      blockSize = size;
      planner.plan(tokens, expertIds, routingWeights, adapterIds, active);
      planner.routing().copyTo(plans.hostArrays());
      times.addAll(time(planner.routing()));
    }
    return times;
  }

  /** Times the plan with the built-in number of items, then with each that cuts it differently. */
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

  private TuningResults.Timed time(Routing plan, int kernel, @Nullable OneShotTiling oneShot) {
    double nanos = timers.stream().mapToDouble(timer -> timer.nanos(plan, kernel, oneShot)).sum();
    return new TuningResults.Timed(blockSize, oneShot, nanos);
  }

  @Override
  public void write(Path file) throws IOException {
    TuningFile.write(file, results.tuning(deviceName, shape));
    if (packed && BlockChoice.hasSplit(config)) {
      BlockLimits builtIn = BlockLimits.of(deviceName, config.weightType());
      LOG.info(
          "the built-in table would have {}",
          results.limits(config, builtIn).row(deviceName.split(",", 2)[0], config.weightType()));
    }
  }

  @Override
  public void close() {
    if (!closed) {
      closed = true;
      timers.forEach(TuningTimer::close);
      backend.close();
    }
  }

  /** Plans in blocks of the size whose turn it is. */
  private final class SizeInTurn implements BlockRule {
    @Override
    public int maxBlockSize() {
      return backend.choice().maxBlockSize();
    }

    @Override
    public int blockSize(int pairsWithWork, int groupsWithWork) {
      activePairs = pairsWithWork;
      groups = groupsWithWork;
      return blockSize;
    }
  }
}
