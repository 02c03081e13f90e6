package io.github.moelora.gpullama3;

import io.github.moelora.DType;
import io.github.moelora.LoraAdapter;
import io.github.moelora.LoraSlice;
import io.github.moelora.Matrix;
import io.github.moelora.MoeLora;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.Projection;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.file.Path;

/**
 * The engine with adapters of ranks 16 and 64 on all experts in slots 0 and 1, otherwise like
 * {@link Decode}: {@code DecodeAdapters MODEL SHAPE}.
 */
public final class DecodeAdapters {
  /** Rank of the adapter in each slot. */
  static final int[] RANKS = {16, 64};

  private DecodeAdapters() {}

  /** Runs until its input ends. */
  public static void main(String[] args) throws IOException {
    Shape shape = Shape.named(args[1]);
    MoeLoraConfig config =
        MoeLoraConfig.of(shape.moeModel(), RANKS.length, shape.perToken())
            .withMaxTokens(1)
            .withMaxRank(64)
            .withWeightType(DType.F16);
    try (MoeLora lora = MoeLora.open(config, "tornado");
        Arena arena = Arena.ofShared()) {
      Engine engine = Engine.load(Path.of(args[0]), shape.context());
      Adapters adapters = new Adapters(lora);
      engine.state().adapters = adapters;
      engine.start();
      for (int slot = 0; slot < RANKS.length; slot++) {
        lora.load(slot, adapter(shape, RANKS[slot], arena));
      }
      Decode.serve(engine, shape, adapters::use);
      engine.close();
    }
  }

  /** Small random weights; sites share the host's memory, the device has room for each. */
  private static LoraAdapter adapter(Shape shape, int rank, Arena arena) {
    long most = (long) rank * Math.max(shape.hidden(), shape.inner());
    MemorySegment weights = arena.allocate(most * Short.BYTES, Long.BYTES);
    for (long i = 0; i < most; i++) {
      short half = Float.floatToFloat16((float) (0.01 * Noise.uniform(rank, i)));
      weights.setAtIndex(ValueLayout.JAVA_SHORT, i, half);
    }
    LoraAdapter.Builder builder = LoraAdapter.builder("r" + rank);
    int inner = shape.inner();
    int hidden = shape.hidden();
    Matrix wideA = Matrix.of(weights, DType.F16, rank, hidden);
    Matrix wideB = Matrix.of(weights, DType.F16, inner, rank);
    Matrix downA = Matrix.of(weights, DType.F16, rank, inner);
    Matrix downB = Matrix.of(weights, DType.F16, hidden, rank);
    for (int layer = 0; layer < shape.layers(); layer++) {
      for (int expert = 0; expert < shape.experts(); expert++) {
        builder.add(layer, Projection.GATE_UP, expert, new LoraSlice(0, wideA, wideB, 1));
        builder.add(layer, Projection.GATE_UP, expert, new LoraSlice(inner, wideA, wideB, 1));
        builder.add(layer, Projection.DOWN, expert, new LoraSlice(0, downA, downB, 1));
      }
    }
    return builder.build();
  }
}
