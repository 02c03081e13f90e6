package io.github.moelora.tornado.step;

import io.github.moelora.DenseModule;
import io.github.moelora.LoraAdapter;
import io.github.moelora.Matrix;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.Projection;
import io.github.moelora.ProjectionCall;
import io.github.moelora.Routing;
import io.github.moelora.spi.Backend;
import io.github.moelora.spi.BackendStep;
import io.github.moelora.tornado.choice.BlockChoice;
import io.github.moelora.tornado.choice.BlockLimits;
import io.github.moelora.tornado.choice.Tuning;
import io.github.moelora.tornado.device.ChosenDevice;
import io.github.moelora.tornado.device.DeviceMemory;
import io.github.moelora.tornado.device.DeviceTraits;
import io.github.moelora.tornado.layout.DeviceBytes;
import io.github.moelora.tornado.weights.FloatWeights;
import io.github.moelora.tornado.weights.PackedWeights;
import io.github.moelora.tornado.weights.ProjectionWeights;
import io.github.moelora.tornado.weights.WeightSite;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * Runs projections on a TornadoVM device, with x from and y to the host. Weights go to the device
 * once and stay there. Runs of several steps take turns, with each other and with the tables of
 * slots that change; changes come one after another, under the monitor of this.
 */
public final class TornadoBackend implements Backend {
  private final MoeLoraConfig config;
  private final ChosenDevice device;
  private final DeviceMemory memory;
  private final BlockChoice choice;
  private final List<ProjectionWeights> weights = new ArrayList<>();

  private final BlockChoice denseChoice;
  private final OwnGraphs graphs;

  /** The backend's own graphs, or an engine's. */
  private volatile SlotStore store;

  private boolean closed;

  /**
   * Reserves the memory of the weights on the device, and takes it when weights first go there.
   *
   * @param tuning measured choices, null for the built-in ones
   * @throws IllegalStateException if the device has less left
   */
  public TornadoBackend(MoeLoraConfig config, ChosenDevice device, @Nullable Tuning tuning) {
    this.config = config;
    this.device = device;
    memory = new DeviceMemory(device.device());
    boolean tensorCores = device.hasTensorCores();
    boolean packed = tensorCores && PackedWeights.suits(config);
    List<WeightSite> sites = sites(config);
    DeviceBytes needed = DeviceBytes.NONE;
    for (WeightSite site : sites) {
      needed =
          needed.plus(
              tensorCores && PackedWeights.suits(site.config())
                  ? PackedWeights.bytes(site)
                  : FloatWeights.bytes(site));
    }
    memory.take(needed.total(), needed.largest());
    try {
      for (WeightSite site : sites) {
        weights.add(
            tensorCores && PackedWeights.suits(site.config())
                ? new PackedWeights(site)
                : new FloatWeights(site));
      }
      String name = DeviceTraits.name(device.device());
      choice = new BlockChoice(config, packed, tuning, BlockLimits.of(name, config.weightType()));
      // of a layer of one choice; block sizes do not depend on its widths
      denseChoice = choice.ofLayer(config.ofDense(new DenseModule("any", 4, 4)));
      graphs = new OwnGraphs(weights, tuning, device, memory);
      store = graphs;
    } catch (RuntimeException | Error e) {
      memory.close();
      throw e;
    }
  }

  static List<WeightSite> sites(MoeLoraConfig config) {
    List<WeightSite> sites = new ArrayList<>();
    for (int layer : config.model().layers()) {
      for (Projection projection : Projection.values()) {
        sites.add(WeightSite.of(config, layer, projection));
      }
    }
    for (int module = 0; module < config.model().dense().size(); module++) {
      sites.add(WeightSite.ofDense(config, module));
    }
    return sites;
  }

  /** Graphs of all projections, made at the first call. */
  List<ProjectionGraphs> graphs() {
    return graphs.all();
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

  /**
   * Leaves the device to an engine, from now on.
   *
   * @param engine gets the slots' weights
   */
  public synchronized void embed(SlotStore engine) {
    if (closed) {
      throw new IllegalStateException("MoeLora is closed");
    }
    if (isEmbedded()) {
      throw new IllegalStateException("lora must belong to one EngineTasks, and has one already");
    }
    if (graphs.isMade()) {
      throw new IllegalStateException("EngineTasks.of must come before the first load and run");
    }
    store = engine;
  }

  /** See {@link SlotStore#version}. */
  long slotVersion() {
    return store.version();
  }

  private boolean isEmbedded() {
    return store != graphs;
  }

  /** Which kernel runs, on blocks of how many rows. */
  public BlockChoice choice() {
    return choice;
  }

  /** The same for dense modules, whose tokens are the pairs. */
  public BlockChoice denseChoice() {
    return denseChoice;
  }

  /** Rows of a block for a batch. */
  public int blockSize(int activePairs, int groups) {
    return blockSize(choice, activePairs, groups);
  }

  /** Rows of a block for a batch, by one of the two choices. */
  int blockSize(BlockChoice by, int activePairs, int groups) {
    return isEmbedded() ? by.ofEngineBatch(activePairs, groups) : by.ofBatch(activePairs, groups);
  }

  /** Most rows of a block for an engine's graphs. */
  public int largeEngineBlock() {
    return choice.largeBlock();
  }

  @Override
  public String device() {
    return device.description();
  }

  /** The device that weights are on. */
  public ChosenDevice chosenDevice() {
    return device;
  }

  /**
   * Reserves memory on the device beside that of the weights.
   *
   * @throws IllegalStateException if the device has less left
   */
  public synchronized void reserve(DeviceBytes bytes) {
    memory.take(bytes.total(), bytes.largest());
  }

  /** Bytes that are reserved for this instance on the device. */
  public long reservedBytes() {
    return memory.bytes();
  }

  @Override
  public PreparedAdapter prepare(int slot, LoraAdapter adapter) {
    makeGraphs();
    List<ProjectionWeights.Packed> packed =
        weights.stream().map(each -> each.pack(adapter)).toList();
    return new PreparedAdapter() {
      @Override
      public void commit() {
        change(slot, packed);
      }

      @Override
      public void close() {
        // only heap memory
      }
    };
  }

  /** A run waits for the tables of a change, not for its weights. */
  @Override
  public boolean changesBesideRuns() {
    return true;
  }

  /** Graphs are made before a change begins, which then cannot fail by that. */
  private void makeGraphs() {
    // without waiting for a change under way, where they are made
    if (!graphs.isMade()) {
      synchronized (this) {
        if (!closed && !isEmbedded()) {
          graphs.all();
        }
      }
    }
  }

  private synchronized void change(int slot, List<ProjectionWeights.Packed> packed) {
    for (int i = 0; i < packed.size(); i++) {
      weights.get(i).requireRoom(slot, packed.get(i));
    }
    store.change(slot, packed);
    for (int i = 0; i < weights.size(); i++) {
      weights.get(i).promise(slot, packed.isEmpty() ? null : packed.get(i));
    }
  }

  @Override
  public void unload(int slot) {
    change(slot, List.of());
  }

  @Override
  public BackendStep newStep() {
    return new TornadoStep(this);
  }

  void run(Routing routing, ProjectionCall call, Matrix x, Matrix y) {
    int index = index(call);
    if (!graphs.isReady(index)) {
      makeReady(index);
    }
    graphs.run(index, routing, call, x, y);
  }

  private synchronized void makeReady(int index) {
    if (isEmbedded()) {
      throw new IllegalStateException("the adapters are in an engine's plan: run that");
    }
    graphs.makeReady(index);
  }

  @Override
  public synchronized void close() {
    if (!closed) {
      closed = true;
      try {
        store.close();
      } finally {
        memory.close();
      }
    }
  }
}
