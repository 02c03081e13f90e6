package io.github.moelora.testkit;

import io.github.moelora.DType;
import io.github.moelora.DenseModule;
import io.github.moelora.ExpertMap;
import io.github.moelora.LoraAdapter;
import io.github.moelora.LoraSlice;
import io.github.moelora.Matrix;
import io.github.moelora.MoeLora;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.MoeModel;
import io.github.moelora.Projection;
import io.github.moelora.ProjectionCall;
import io.github.moelora.Step;
import io.github.moelora.reference.Reference;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Random;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/**
 * A random batch with its adapters. Expected values come from {@link Reference} alone; {@link
 * #check} runs a {@link MoeLora} and compares every element of {@code y}'s memory.
 */
public final class Problem {

  /** Which (layer, projection, expert) an adapter covers. */
  public interface Sites {
    boolean cover(int layer, Projection projection, int expert);
  }

  private final long seed;
  private final Random random;
  private final MoeModel model;
  private final int tokens;
  private final int expertsPerToken;
  private final List<@Nullable LoraAdapter> adapters = new ArrayList<>();
  private final Set<Integer> disabled = new HashSet<>();
  private final int[] expertIds;
  private final float[] routingWeights;
  private final int[] adapterIds;
  private DType weightType = DType.F32;
  private DType xType = DType.F32;
  private DType yType = DType.F32;
  private DType slotType = DType.F32;
  private ExpertMap expertMap;
  private boolean strided;
  private float xMagnitude;

  public Problem(long seed, MoeModel model, int tokens, int expertsPerToken) {
    this.seed = seed;
    this.random = new Random(seed);
    this.model = model;
    this.tokens = tokens;
    this.expertsPerToken = expertsPerToken;
    this.expertIds = new int[tokens * expertsPerToken];
    this.routingWeights = new float[tokens * expertsPerToken];
    this.adapterIds = new int[tokens];
    this.expertMap = ExpertMap.identity(model.experts());
  }

  /** Types of the adapters appended from now on, of x and of y; slots are of the weights' type. */
  public Problem types(DType weights, DType x, DType y) {
    weightType = weights;
    slotType = weights;
    xType = x;
    yType = y;
    return this;
  }

  /** Slots of another type than the adapters'; the weights are rounded on load. */
  public Problem slotType(DType type) {
    slotType = type;
    return this;
  }

  public Problem expertMap(ExpertMap map) {
    expertMap = map;
    return this;
  }

  /** Lets x and y be views with an offset and gaps between the rows, at an odd address. */
  public Problem withStrides() {
    strided = true;
    return this;
  }

  /** Lets all of x be {@code magnitude} or its negative. */
  public Problem xOfSigns(float magnitude) {
    xMagnitude = magnitude;
    return this;
  }

  /** A configuration that just fits. */
  public MoeLoraConfig config() {
    int maxRank = 1;
    for (LoraAdapter adapter : adapters) {
      maxRank = Math.max(maxRank, adapter == null ? 1 : adapter.maxRank());
    }
    return MoeLoraConfig.of(model, adapters.size(), expertsPerToken)
        .withMaxTokens(Math.max(1, tokens))
        .withMaxRank(maxRank)
        .withWeightType(slotType)
        .withExpertMap(expertMap);
  }

  public MoeModel model() {
    return model;
  }

  public int tokens() {
    return tokens;
  }

  public int pairs() {
    return expertIds.length;
  }

  public DType weightType() {
    return weightType;
  }

  public DType xType() {
    return xType;
  }

  public DType yType() {
    return yType;
  }

  boolean strided() {
    return strided;
  }

  /** Of all elements of x, 0 where they are of any. */
  float xMagnitude() {
    return xMagnitude;
  }

  public List<@Nullable LoraAdapter> adapters() {
    return adapters;
  }

  public int[] expertIds() {
    return expertIds;
  }

  public float[] routingWeights() {
    return routingWeights;
  }

  public int[] adapterIds() {
    return adapterIds;
  }

  /** Appends an adapter on every expert: separate gate and up, or one fused pair. */
  public Problem addAdapter(int rank, boolean fused) {
    return addAdapter(rank, fused, 1);
  }

  /** Appends an adapter that leaves out each slice with probability {@code 1 - coverage}. */
  public Problem addAdapter(int rank, boolean fused, double coverage) {
    adapters.add(randomAdapter(rank, fused, coverage));
    return this;
  }

  /** Appends an adapter. */
  public Problem addAdapter(LoraAdapter adapter) {
    adapters.add(adapter);
    return this;
  }

  /** Appends an empty slot. */
  public Problem addEmptySlot() {
    adapters.add(null);
    return this;
  }

  /** Puts another adapter, or none, into a slot. */
  public Problem set(int slot, @Nullable LoraAdapter adapter) {
    adapters.set(slot, adapter);
    return this;
  }

  /** Switches a slot off; {@link #load} does so in a {@link MoeLora}. */
  public Problem disable(int slot) {
    disabled.add(slot);
    return this;
  }

  public Problem enable(int slot) {
    disabled.remove(slot);
    return this;
  }

  /**
   * An adapter on experts and dense modules that leaves out each slice with probability {@code 1 -
   * coverage}.
   */
  public LoraAdapter randomAdapter(int rank, boolean fused, double coverage) {
    LoraAdapter.Builder builder = LoraAdapter.builder("rank " + rank);
    for (int layer : model.layers()) {
      for (int e = 0; e < model.experts(); e++) {
        for (Projection projection : Projection.values()) {
          int width = model.outputWidth(projection);
          boolean split = projection == Projection.GATE_UP && model.gateUp().gated() && !fused;
          int sliceWidth = split ? width / 2 : width;
          for (int first = 0; first < width; first += sliceWidth) {
            if (random.nextDouble() < coverage) {
              builder.add(
                  layer,
                  projection,
                  e,
                  slice(first, rank, model.inputWidth(projection), sliceWidth));
            }
          }
        }
      }
    }
    for (DenseModule module : model.dense()) {
      if (random.nextDouble() < coverage) {
        builder.addDense(module.name(), slice(module, rank));
      }
    }
    return builder.build();
  }

  /** An adapter on some dense modules; the rank of each is drawn from {@code [1, maxRank]}. */
  public LoraAdapter randomDense(int maxRank, double coverage) {
    LoraAdapter.Builder builder = LoraAdapter.builder("dense, rank <= " + maxRank);
    for (DenseModule module : model.dense()) {
      if (random.nextDouble() < coverage) {
        builder.addDense(module.name(), slice(module, 1 + random.nextInt(maxRank)));
      }
    }
    return builder.build();
  }

  private LoraSlice slice(DenseModule module, int rank) {
    return slice(0, rank, module.inputWidth(), module.outputWidth());
  }

  /** A fused adapter on some sites; the rank of each is drawn from {@code [1, maxRank]}. */
  public LoraAdapter randomAdapter(int maxRank, Sites sites) {
    LoraAdapter.Builder builder = LoraAdapter.builder("rank <= " + maxRank);
    for (int layer : model.layers()) {
      for (Projection projection : Projection.values()) {
        for (int e = 0; e < model.experts(); e++) {
          if (sites.cover(layer, projection, e)) {
            int rank = 1 + random.nextInt(maxRank);
            builder.add(
                layer,
                projection,
                e,
                slice(0, rank, model.inputWidth(projection), model.outputWidth(projection)));
          }
        }
      }
    }
    return builder.build();
  }

  /** A slice with random weights of {@link #weightType}. */
  public LoraSlice slice(int firstColumn, int rank, int inputWidth, int outputWidth) {
    float scale = 0.25f + random.nextFloat() * 2;
    return new LoraSlice(
        firstColumn,
        random(rank, inputWidth, weightType),
        random(outputWidth, rank, weightType),
        scale);
  }

  /** Random routing: distinct experts per token; adapters and -1 alike. */
  public Problem route() {
    for (int t = 0; t < tokens; t++) {
      adapterIds[t] = random.nextInt(adapters.size() + 1) - 1;
      int[] distinct = random.ints(0, model.experts()).distinct().limit(expertsPerToken).toArray();
      for (int k = 0; k < expertsPerToken; k++) {
        expertIds[t * expertsPerToken + k] = distinct[k];
        routingWeights[t * expertsPerToken + k] = random.nextFloat();
      }
    }
    return this;
  }

  /** Gives token {@code t} the adapter {@code t mod n}. */
  public Problem dealAdapters() {
    Arrays.setAll(adapterIds, t -> t % adapters.size());
    return this;
  }

  /** Replaces some expert ids by -1. */
  public Problem skip(double fraction) {
    for (int p = 0; p < expertIds.length; p++) {
      if (random.nextDouble() < fraction) {
        expertIds[p] = -1;
      }
    }
    return this;
  }

  /** A random matrix in heap memory, contiguous. */
  public Matrix random(int rows, int columns, DType type) {
    MemorySegment data = MemorySegment.ofArray(new byte[rows * columns * type.bytes()]);
    Matrix matrix = Matrix.of(data, type, rows, columns);
    for (int i = 0; i < rows; i++) {
      for (int j = 0; j < columns; j++) {
        matrix.set(i, j, (float) random.nextGaussian());
      }
    }
    return matrix;
  }

  /** Makes a step's plan of this batch. */
  public void plan(Step step) {
    step.plan(
        tokens,
        MemorySegment.ofArray(expertIds),
        MemorySegment.ofArray(routingWeights),
        MemorySegment.ofArray(adapterIds));
  }

  /** Makes a step's plan of this batch for dense modules alone. */
  public void planDense(Step step) {
    step.planDense(tokens, MemorySegment.ofArray(adapterIds));
  }

  /** Loads the adapters, plans and checks the calls with fresh random x and y. */
  public void check(MoeLora lora, ProjectionCall... calls) {
    load(lora);
    try (Step step = lora.newStep()) {
      plan(step);
      for (ProjectionCall call : calls) {
        check(step, call);
      }
    }
  }

  /** Loads every adapter into the slot of its index, and switches slots on and off. */
  public void load(MoeLora lora) {
    for (int slot = 0; slot < adapters.size(); slot++) {
      LoraAdapter adapter = adapters.get(slot);
      if (adapter != null) {
        lora.load(slot, adapter);
      }
      lora.setEnabled(slot, !disabled.contains(slot));
    }
  }

  /** Runs a planned step on fresh random x and y, and compares with the reference. */
  public void check(Step step, ProjectionCall call) {
    operands(call).check(step);
  }

  /** Random operands of a call and what must come of them. */
  public Operands operands(ProjectionCall call) {
    return new Operands(this, call, random);
  }

  /** Rows of y that a call writes. */
  public int pairs(ProjectionCall call) {
    return call.isDense() ? tokens : expertIds.length;
  }

  /** Row of x that a pair of a call reads. */
  int xRow(ProjectionCall call, int pair) {
    return call.isDense() || call.pairRows() ? pair : pair / expertsPerToken;
  }

  /** Whether a pair has an adapter in an enabled slot and its expert lives here. */
  boolean hasWork(ProjectionCall call, int pair) {
    int slot = adapterIds[call.isDense() ? pair : pair / expertsPerToken];
    return slot >= 0
        && adapters.get(slot) != null
        && !disabled.contains(slot)
        && (call.isDense() || (expertIds[pair] >= 0 && expertMap.local(expertIds[pair]) >= 0));
  }

  /** What the oracle computes for given x and y. */
  Reference.Inputs inputs(ProjectionCall call, Matrix x, Matrix y) {
    List<@Nullable LoraAdapter> active = new ArrayList<>();
    for (int slot = 0; slot < adapters.size(); slot++) {
      LoraAdapter adapter = disabled.contains(slot) ? null : adapters.get(slot);
      active.add(
          adapter == null || slotType == DType.F32
              ? adapter
              : Rounded.adapter(adapter, model, slotType));
    }
    int[] here =
        Arrays.stream(expertIds).map(e -> e < 0 || expertMap.local(e) < 0 ? -1 : e).toArray();
    return new Reference.Inputs(model, call, active, here, routingWeights, adapterIds, x, y);
  }

  @Override
  public String toString() {
    return "seed %d, %d tokens, %s, %s weights, x %s, y %s, adapters %s, experts %s"
        .formatted(
            seed,
            tokens,
            model,
            weightType,
            xType,
            yType,
            Arrays.toString(adapterIds),
            Arrays.toString(expertIds));
  }
}
