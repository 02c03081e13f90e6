package io.github.moelora.workload;

import io.github.moelora.DType;
import io.github.moelora.GateUp;
import io.github.moelora.LoraAdapter;
import io.github.moelora.Matrix;
import io.github.moelora.MoeLora;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.MoeModel;
import io.github.moelora.Projection;
import io.github.moelora.ProjectionCall;
import io.github.moelora.Step;
import io.github.moelora.reference.Reference;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import org.jspecify.annotations.Nullable;

/**
 * Random adapters in every slot of a model's layers, on one backend, with what is needed to run,
 * check and judge a batch. Used by one thread at a time.
 */
public final class Workload implements AutoCloseable {
  private final Sizes sizes;
  private final Random random;
  private final Arena arena = Arena.ofShared();
  private final MoeModel model;
  private final RandomAdapters randomAdapters;
  private final MoeLora lora;
  private final Step step;
  private final List<LoraAdapter> adapters = new ArrayList<>();

  /**
   * Sizes of a workload.
   *
   * @param preset shape of a layer
   * @param layers number of layers, all of that shape
   * @param adapters number {@code L} of adapters and slots
   * @param rank rank {@code R} of all adapters
   * @param maxTokens largest batch
   * @param weights type in which weights are kept
   * @param activations type of x and y
   */
  public record Sizes(
      Preset preset,
      int layers,
      int adapters,
      int rank,
      int maxTokens,
      DType weights,
      DType activations) {

    /** Two adapters, bfloat16 weights and activations. */
    public static Sizes bf16(Preset preset, int layers, int rank, int maxTokens) {
      return new Sizes(preset, layers, 2, rank, maxTokens, DType.BF16, DType.BF16);
    }

    /** A configuration that just fits. */
    public MoeLoraConfig config() {
      return MoeLoraConfig.of(preset.withLayers(layers), adapters, preset.expertsPerToken())
          .withMaxTokens(maxTokens)
          .withMaxRank(rank)
          .withWeightType(weights);
    }

    /** Bytes of one projection's weights of one expert of one adapter. */
    public long expertBytes(Projection projection) {
      MoeModel model = preset.model();
      long width =
          (long) slices(projection) * model.inputWidth(projection) + model.outputWidth(projection);
      return rank * width * weights.bytes();
    }

    /** Bytes of all weights. */
    public long weightBytes() {
      return (expertBytes(Projection.GATE_UP) + expertBytes(Projection.DOWN))
          * preset.model().experts()
          * layers
          * adapters;
    }

    /** Bytes of the weights of each (adapter, expert) hit, once. */
    public long weightBytes(ProjectionCall call, Batch batch) {
      return (long) batch.distinctExperts() * expertBytes(call.projection());
    }

    /** Bytes that must move: the weights hit once, x once, y read and written. */
    public long movedBytes(ProjectionCall call, Batch batch) {
      MoeModel model = preset.model();
      long elements =
          (long) rows(call, batch) * model.inputWidth(call.projection())
              + 2L * batch.pairs() * model.outputWidth(call.projection());
      return weightBytes(call, batch) + elements * activations.bytes();
    }

    /** Floating-point operations: a multiplication and an addition per weight and pair. */
    public long flops(ProjectionCall call, Batch batch) {
      return 2L * batch.pairs() * expertBytes(call.projection()) / weights.bytes();
    }

    /** Rows of x. */
    static int rows(ProjectionCall call, Batch batch) {
      return call.pairRows() ? batch.pairs() : batch.tokens();
    }

    /** LoRA matrix pairs of an expert. */
    public int slices(Projection projection) {
      return projection == Projection.GATE_UP && preset.model().gateUp() == GateUp.HALVES ? 2 : 1;
    }
  }

  /**
   * Where a workload runs.
   *
   * @param backend name of the backend, or null for the best usable one
   * @param device index or name of its device, or null for its first
   */
  public record Place(@Nullable String backend, @Nullable String device) {

    /** Opens an instance here. */
    public MoeLora open(MoeLoraConfig config) {
      MoeLoraConfig here = config.withDevice(device);
      return backend == null ? MoeLora.open(here) : MoeLora.open(here, backend);
    }
  }

  private Workload(Sizes sizes, Place place, long seed) {
    this.sizes = sizes;
    random = new Random(seed);
    model = sizes.preset().withLayers(sizes.layers());
    MoeLoraConfig config = sizes.config();
    lora = place.open(config);
    step = lora.newStep();
    randomAdapters = new RandomAdapters(arena, random, sizes);
  }

  /**
   * Opens a backend and loads random adapters into all slots.
   *
   * @param backend name of the backend, or null for the best usable one
   */
  public static Workload open(Sizes sizes, @Nullable String backend, long seed) {
    return open(sizes, new Place(backend, null), seed);
  }

  /** Opens a backend on a device and loads random adapters into all slots. */
  public static Workload open(Sizes sizes, Place place, long seed) {
    Workload workload = new Workload(sizes, place, seed);
    try {
      for (int slot = 0; slot < sizes.adapters(); slot++) {
        LoraAdapter adapter = workload.adapter("random-" + slot);
        workload.lora.load(slot, adapter);
        workload.adapters.add(adapter);
      }
      return workload;
    } catch (RuntimeException | Error e) {
      workload.close();
      throw e;
    }
  }

  /** A further random adapter, not loaded. */
  public LoraAdapter adapter(String name) {
    return randomAdapters.next(name);
  }

  /** The adapter that {@link #open} loaded into a slot. */
  public LoraAdapter loaded(int slot) {
    return adapters.get(slot);
  }

  /** The slots. */
  public MoeLora lora() {
    return lora;
  }

  /** The step whose plan {@link #plan} replaces. */
  public Step step() {
    return step;
  }

  /** Name and device of the backend. */
  public String backend() {
    return "backend %s on %s".formatted(lora.backendName(), lora.device());
  }

  /** A random batch. */
  public Batch batch(int tokens) {
    return Batch.random(
        random, tokens, sizes.preset().expertsPerToken(), model.experts(), sizes.adapters());
  }

  /** Plans a batch. */
  public void plan(Batch batch) {
    step.plan(
        batch.tokens(),
        MemorySegment.ofArray(batch.expertIds()),
        MemorySegment.ofArray(batch.routingWeights()),
        MemorySegment.ofArray(batch.adapterIds()));
  }

  /** Runs one projection of the plan. */
  public void run(ProjectionCall call, Matrix x, Matrix y) {
    step.run(call, x, y);
  }

  /** Random input of a call. */
  public Matrix x(Arena owner, ProjectionCall call, Batch batch) {
    int columns = model.inputWidth(call.projection());
    return Bits.random(owner, random, sizes.activations(), Sizes.rows(call, batch), columns);
  }

  /** Random output of a call, to add to. */
  public Matrix y(Arena owner, ProjectionCall call, Batch batch) {
    return Bits.random(
        owner, random, sizes.activations(), batch.pairs(), model.outputWidth(call.projection()));
  }

  /**
   * Plans and runs a batch once and compares the pairs of its middle token, since the reference of
   * a whole large batch takes minutes.
   *
   * @return worst error over its bound; more than 1 is wrong
   */
  public double check(ProjectionCall call, Batch batch, Matrix x, Matrix y) {
    int expertsPerToken = sizes.preset().expertsPerToken();
    int t = batch.tokens() / 2;
    int p = t * expertsPerToken;
    Check check = new Check();
    try (Arena copies = Arena.ofConfined()) {
      Matrix before = Bits.copy(copies, y.rows(p, expertsPerToken));
      plan(batch);
      run(call, x, y);
      check.compare(
          Reference.compute(
              new Reference.Inputs(
                  model,
                  call,
                  new ArrayList<>(adapters),
                  Arrays.copyOfRange(batch.expertIds(), p, p + expertsPerToken),
                  Arrays.copyOfRange(batch.routingWeights(), p, p + expertsPerToken),
                  new int[] {batch.adapterIds()[t]},
                  call.pairRows() ? x.rows(p, expertsPerToken) : x.rows(t, 1),
                  before)),
          y.rows(p, expertsPerToken));
    }
    return check.worst();
  }

  @Override
  public void close() {
    lora.close();
    arena.close();
  }
}
