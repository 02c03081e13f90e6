package io.github.moelora.testkit;

import io.github.moelora.DType;
import io.github.moelora.LoraAdapter;
import io.github.moelora.LoraSlice;
import io.github.moelora.Matrix;
import io.github.moelora.MoeLora;
import io.github.moelora.MoeModel;
import io.github.moelora.Projection;
import io.github.moelora.ProjectionCall;
import io.github.moelora.Step;
import io.github.moelora.reference.Reference;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import org.jspecify.annotations.Nullable;

/**
 * A random batch with its adapters. Expected values come from {@link Reference} alone; {@link
 * #check} runs a {@link MoeLora} and compares every element of {@code y}, guard columns and rows
 * included.
 */
public final class Problem {
  private static final int GUARD_ROWS = 2;

  private final Random random;
  private final MoeModel model;
  private final int tokens;
  private final int expertsPerToken;
  private final List<@Nullable LoraAdapter> adapters = new ArrayList<>();
  private final int[] expertIds;
  private final float[] routingWeights;
  private final int[] adapterIds;
  private DType weightType = DType.F32;
  private DType xType = DType.F32;
  private DType yType = DType.F32;

  public Problem(long seed, MoeModel model, int tokens, int expertsPerToken) {
    this.random = new Random(seed);
    this.model = model;
    this.tokens = tokens;
    this.expertsPerToken = expertsPerToken;
    this.expertIds = new int[tokens * expertsPerToken];
    this.routingWeights = new float[tokens * expertsPerToken];
    this.adapterIds = new int[tokens];
  }

  public Problem types(DType weights, DType x, DType y) {
    weightType = weights;
    xType = x;
    yType = y;
    return this;
  }

  public MoeModel model() {
    return model;
  }

  public int tokens() {
    return tokens;
  }

  public DType weightType() {
    return weightType;
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
    LoraAdapter.Builder builder = LoraAdapter.builder("adapter" + adapters.size());
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
    adapters.add(builder.build());
    return this;
  }

  /** Appends an empty slot. */
  public Problem addEmptySlot() {
    adapters.add(null);
    return this;
  }

  private LoraSlice slice(int firstColumn, int rank, int inputWidth, int outputWidth) {
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

  public Matrix random(int rows, int columns, DType type) {
    Matrix matrix = Matrix.of(segment(rows, columns, type), type, rows, columns);
    for (int i = 0; i < rows; i++) {
      for (int j = 0; j < columns; j++) {
        matrix.set(i, j, (float) random.nextGaussian());
      }
    }
    return matrix;
  }

  private static MemorySegment segment(int rows, int columns, DType type) {
    return MemorySegment.ofArray(new byte[rows * columns * type.bytes()]);
  }

  /** Makes a step's plan of this batch. */
  public void plan(Step step) {
    step.plan(
        tokens,
        MemorySegment.ofArray(expertIds),
        MemorySegment.ofArray(routingWeights),
        MemorySegment.ofArray(adapterIds));
  }

  /** Loads the adapters, plans and checks one call with fresh random x and y. */
  public void check(MoeLora lora, ProjectionCall call) {
    load(lora);
    try (Step step = lora.newStep()) {
      plan(step);
      check(step, call);
    }
  }

  /** Loads every adapter into the slot of its index. */
  public void load(MoeLora lora) {
    for (int slot = 0; slot < adapters.size(); slot++) {
      LoraAdapter adapter = adapters.get(slot);
      if (adapter != null) {
        lora.load(slot, adapter);
      }
    }
  }

  /**
   * Runs a planned step and compares with the reference; in delta-only mode {@code y} starts as
   * NaN.
   */
  public void check(Step step, ProjectionCall call) {
    int pairs = expertIds.length;
    Matrix x = random(call.pairRows() ? pairs : tokens, model.inputWidth(call.projection()), xType);
    int width = call.columnOffset() + model.outputWidth(call.projection()) + 3;
    Matrix y = random(pairs + GUARD_ROWS, width, yType);
    if (!call.add()) {
      for (int p = 0; p < pairs; p++) {
        for (int c = 0; c < model.outputWidth(call.projection()); c++) {
          y.set(p, call.columnOffset() + c, Float.NaN);
        }
      }
    }
    Matrix before = Matrix.of(copy(y.data()), yType, y.rows(), width);
    Reference.Result expected =
        Reference.compute(
            new Reference.Inputs(
                model,
                call,
                adapters,
                expertIds,
                routingWeights,
                adapterIds,
                x,
                before.rows(0, pairs)));
    step.run(call, x, y);
    compare(expected, before, y);
  }

  private static MemorySegment copy(MemorySegment data) {
    byte[] bytes = new byte[Math.toIntExact(data.byteSize())];
    MemorySegment.copy(data, 0, MemorySegment.ofArray(bytes), 0, bytes.length);
    return MemorySegment.ofArray(bytes);
  }

  /**
   * Throws for the first element outside its bound; where the bound is 0 and the value is
   * unchanged, the bits must be too.
   */
  public static void compare(Reference.Result expected, Matrix before, Matrix actual) {
    for (int p = 0; p < actual.rows(); p++) {
      for (int c = 0; c < actual.columns(); c++) {
        double value = p < expected.values().length ? expected.values()[p][c] : before.get(p, c);
        double bound = p < expected.values().length ? expected.bounds()[p][c] : 0;
        double error = Math.abs(actual.get(p, c) - value);
        boolean right =
            bound == 0
                ? Float.floatToIntBits(actual.get(p, c)) == Float.floatToIntBits((float) value)
                : error <= bound;
        if (!right) {
          throw new AssertionError(
              "y[%d,%d] must be %s within %s, got %s"
                  .formatted(p, c, value, bound, actual.get(p, c)));
        }
      }
    }
  }

  @Override
  public String toString() {
    return "%d tokens, %s, %s weights, x %s, y %s, adapters %s"
        .formatted(tokens, model, weightType, xType, yType, Arrays.toString(adapterIds));
  }
}
