package io.github.moelora.tornado.step;

import io.github.moelora.DType;
import io.github.moelora.LoraAdapter;
import io.github.moelora.Matrix;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.Projection;
import io.github.moelora.ProjectionCall;
import io.github.moelora.Routing;
import io.github.moelora.spi.Backend;
import io.github.moelora.spi.BackendStep;
import io.github.moelora.tornado.choice.BlockChoice;
import io.github.moelora.tornado.choice.OneShotTiling;
import io.github.moelora.tornado.choice.SplitTiling;
import io.github.moelora.tornado.choice.Tiling;
import io.github.moelora.tornado.choice.Tuning;
import io.github.moelora.tornado.weights.PackedWeights;
import io.github.moelora.tornado.weights.PortableWeights;
import io.github.moelora.tornado.weights.ProjectionWeights;
import io.github.moelora.tornado.weights.WeightSite;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Function;
import org.jspecify.annotations.Nullable;
import uk.ac.manchester.tornado.api.types.arrays.FloatArray;

/**
 * Runs projections on a TornadoVM device, with x from and y to the host. Weights go to the device
 * once and stay there. Runs of several steps take turns.
 */
public final class TornadoBackend implements Backend {
  /** Groups of this many pairs and more get the largest blocks where the tuned kernels run. */
  private static final int LARGEST_GROUP = 128;

  /** Groups of this many pairs and more get large blocks where the tuned kernels have them. */
  private static final int LARGE_GROUP = 24;

  /** The same for ranks above {@link #SMALL_RANK}, whose weights cost more to read again. */
  private static final int LARGE_GROUP_OF_RANKS = 16;

  private static final int SMALL_RANK = 32;

  /** So many pairs make a large block for each multiprocessor. */
  private static final int MANY_PAIRS = 32 * Tiling.MULTIPROCESSORS;

  /**
   * Up to so many pairs, each is a block: what counts is to have all multiprocessors at work, or to
   * have no padding travel.
   */
  private static final int FEW_PAIRS = 64;

  private final MoeLoraConfig config;
  private final String device;
  private final boolean packed;
  private final int largeBlock;
  private final int maxBlockSize;
  private final @Nullable Tuning tuning;
  private final List<ProjectionWeights> weights = new ArrayList<>();

  /** Made when weights first go to the device; empty before, and while an engine has them. */
  private final List<ProjectionPlan> plans = new ArrayList<>();

  private volatile @Nullable SlotStore engine;
  private boolean closed;

  /**
   * @param tensorCores whether the tuned kernels can run
   */
  public TornadoBackend(MoeLoraConfig config, String device, boolean tensorCores) {
    this(config, device, tensorCores, null);
  }

  /**
   * @param tensorCores whether the tuned kernels can run
   * @param tuning measured choices, null for the built-in ones
   */
  public TornadoBackend(
      MoeLoraConfig config, String device, boolean tensorCores, @Nullable Tuning tuning) {
    this.config = config;
    this.device = device;
    this.tuning = tuning;
    packed = tensorCores && PackedWeights.suits(config);
    if (packed) {
      PackedWeights.Staging staging = PackedWeights.Staging.of(config);
      // of modules whose widths the tuned kernels do not take
      FloatArray denseStaging =
          config.model().dense().isEmpty() ? new FloatArray(1) : PortableWeights.newStaging(config);
      addWeights(
          site ->
              PackedWeights.suits(site.config())
                  ? new PackedWeights(site, staging)
                  : new PortableWeights(site, denseStaging));
    } else {
      FloatArray staging = PortableWeights.newStaging(config);
      addWeights(site -> new PortableWeights(site, staging));
    }
    largeBlock =
        packed ? SplitTiling.large(config, Projection.GATE_UP).rows() : BlockChoice.SMALL_BLOCK;
    maxBlockSize = Tuning.blockSizes(config, packed).getLast();
  }

  private void addWeights(Function<WeightSite, ProjectionWeights> factory) {
    for (int layer : config.model().layers()) {
      for (Projection projection : Projection.values()) {
        weights.add(factory.apply(WeightSite.of(config, layer, projection)));
      }
    }
    for (int module = 0; module < config.model().dense().size(); module++) {
      weights.add(factory.apply(WeightSite.ofDense(config, module)));
    }
  }

  /** Plans of all projections, made at the first call. */
  List<ProjectionPlan> plans() {
    if (plans.isEmpty()) {
      for (ProjectionWeights each : weights) {
        // what was measured was measured on experts
        Tuning measured = each.site().module() == null ? tuning : null;
        plans.add(new ProjectionPlan(each.config(), each, measured));
      }
    }
    return plans;
  }

  /** Weights of all projections, gate/up before down of each layer, then of dense modules. */
  public List<ProjectionWeights> weights() {
    return weights;
  }

  public ProjectionWeights weights(int layer, Projection projection) {
    return weights.get(index(layer, projection));
  }

  /** Weights that a call uses. */
  public ProjectionWeights weights(ProjectionCall call) {
    return weights.get(index(call));
  }

  private int index(ProjectionCall call) {
    return call.isDense()
        ? 2 * config.model().layers().size() + call.module()
        : index(call.layer(), call.projection());
  }

  private int index(int layer, Projection projection) {
    return 2 * config.model().layerIndex(layer) + (projection == Projection.GATE_UP ? 0 : 1);
  }

  /** Leaves the device to an engine's plan, from now on. */
  public synchronized void embed(SlotStore store) {
    if (closed) {
      throw new IllegalStateException("MoeLora is closed");
    }
    if (engine != null) {
      throw new IllegalStateException("lora must belong to one EngineTasks, and has one already");
    }
    if (!plans.isEmpty()) {
      throw new IllegalStateException("EngineTasks.of must come before the first load and run");
    }
    engine = store;
  }

  public int maxBlockSize() {
    return maxBlockSize;
  }

  /** Most rows of a block for an engine's graphs. */
  public int largeBlock() {
    return largeBlock;
  }

  /** The one-shot kernel for blocks of one pair. */
  public OneShotTiling pairsTiling() {
    return Tuning.split(OneShotTiling.pairs(), tuning);
  }

  /** Rows of a block for a batch: as measured, where a measurement covers it, else as built in. */
  public int blockSize(int activePairs, int groups) {
    // the kernels of an engine's graphs are fixed, and its arrays hold no other plans
    int tuned = tuning == null || engine != null ? 0 : tuning.blockSize(activePairs, groups);
    return tuned > 0 ? tuned : builtInBlockSize(activePairs, groups);
  }

  /** Rows of a block for a batch; docs/performance.md has the measurements behind it. */
  private int builtInBlockSize(int activePairs, int groups) {
    if (activePairs == groups) {
      return 1;
    }
    if (engine != null) {
      if (packed && activePairs <= BlockChoice.FEW_TOKENS * config.expertsPerToken()) {
        return 1;
      }
      if (activePairs <= BlockChoice.SMALL_TOKENS * config.expertsPerToken()) {
        return BlockChoice.SMALL_BLOCK;
      }
    } else if (activePairs <= FEW_PAIRS) {
      return 1;
    } else if (packed) {
      if (2 * activePairs < 3 * groups) {
        return 1;
      }
      // the one-shot kernel takes float16 apart in more steps, tensor cores take it as it is
      if (activePairs < 2 * groups && config.weightType() == DType.BF16) {
        return 2;
      }
    } else if (activePairs < 2 * groups) {
      // blocks would mostly be padding, and x and y travel with it
      return 1;
    }
    boolean manyRanks = config.maxRank() > SMALL_RANK;
    int largeGroup = manyRanks ? LARGE_GROUP_OF_RANKS : LARGE_GROUP;
    if (activePairs < groups * largeGroup || (manyRanks && activePairs < MANY_PAIRS)) {
      return BlockChoice.SMALL_BLOCK;
    }
    // an engine's graphs have no kernels for the largest blocks
    return activePairs >= groups * LARGEST_GROUP && engine == null ? maxBlockSize : largeBlock;
  }

  @Override
  public String device() {
    return device;
  }

  @Override
  public PreparedAdapter prepare(int slot, LoraAdapter adapter) {
    List<ProjectionWeights.Packed> packed =
        weights.stream().map(each -> each.pack(adapter)).toList();
    return new PreparedAdapter() {
      @Override
      public void commit() {
        store(slot, packed);
      }

      @Override
      public void close() {
        // only heap memory
      }
    };
  }

  private synchronized void store(int slot, List<ProjectionWeights.Packed> packed) {
    if (engine != null) {
      engine.change(slot, packed);
      return;
    }
    for (int i = 0; i < weights.size(); i++) {
      ProjectionWeights.Packed each = packed.get(i);
      each.stage(slot);
      do {
        plans().get(i).store();
      } while (each.stageNext());
    }
  }

  @Override
  public synchronized void unload(int slot) {
    if (engine != null) {
      engine.change(slot, List.of());
      return;
    }
    for (int i = 0; i < weights.size(); i++) {
      weights.get(i).stageEmpty(slot);
      plans().get(i).store();
    }
  }

  @Override
  public BackendStep newStep() {
    return new TornadoStep(this);
  }

  synchronized void run(Routing routing, ProjectionCall call, Matrix x, Matrix y) {
    if (engine != null) {
      throw new IllegalStateException("the adapters are in an engine's plan: run that");
    }
    plans().get(index(call)).run(routing, call, x, y);
  }

  @Override
  public synchronized void close() {
    if (!closed) {
      closed = true;
      plans.forEach(ProjectionPlan::close);
      if (engine != null) {
        engine.close();
      }
    }
  }
}
