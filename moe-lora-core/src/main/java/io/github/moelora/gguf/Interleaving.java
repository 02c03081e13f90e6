package io.github.moelora.gguf;

import io.github.moelora.DType;
import io.github.moelora.LoraAdapter;
import io.github.moelora.LoraSlice;
import io.github.moelora.Matrix;
import io.github.moelora.MoeModel;
import io.github.moelora.Projection;
import io.github.moelora.peft.PeftAdapter.Linear;
import java.lang.foreign.Arena;
import java.util.HashMap;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * Makes one slice out of gate and up for a model whose base weight has their columns by turns
 * (gpt-oss), where GGUF keeps them apart. Where both have the same A, as the two halves of a fused
 * pair do, the slice has their rank, otherwise the sum of both ranks.
 */
final class Interleaving {
  private record Site(int layer, int expert) {}

  /** Pairs of one expert. */
  private static final class Both {
    private @Nullable LoraSlice gate;
    private @Nullable LoraSlice up;
  }

  private final LoraAdapter.Builder builder;
  private final MoeModel model;
  private final Arena arena;
  private final Map<Site, Both> sites = new HashMap<>();

  Interleaving(LoraAdapter.Builder builder, MoeModel model, Arena arena) {
    this.builder = builder;
    this.model = model;
    this.arena = arena;
  }

  /** Takes a pair of gate, up, or both as halves. */
  void add(int layer, int expert, Linear linear, LoraSlice pair) {
    Both both = sites.computeIfAbsent(new Site(layer, expert), site -> new Both());
    int half = model.intermediateSize();
    switch (linear) {
      case GATE -> both.gate = pair;
      case UP -> both.up = pair;
      case GATE_UP -> {
        both.gate = new LoraSlice(0, pair.a(), pair.b().rows(0, half), pair.scale());
        both.up = new LoraSlice(0, pair.a(), pair.b().rows(half, half), pair.scale());
      }
      case DOWN -> throw new IllegalArgumentException("linear must be of the first projection");
    }
  }

  /** Adds the slices to the builder. */
  void finish() {
    sites.forEach(
        (site, both) -> builder.add(site.layer(), Projection.GATE_UP, site.expert(), joined(both)));
  }

  private LoraSlice joined(Both both) {
    LoraSlice gate = both.gate;
    LoraSlice up = both.up;
    LoraSlice one = gate == null ? up : gate;
    if (one == null) {
      throw new IllegalStateException("no pair");
    }
    boolean alone = gate == null || up == null;
    LoraSlice other = up == null ? one : up;
    boolean sameA = alone || sameElements(one.a(), other.a());
    // a scale is folded into B only where ranks differ, and then B is float32
    boolean sameScale = one.scale() == other.scale();
    boolean sameType = one.b().type() == other.b().type();
    DType type = sameScale && sameType ? one.b().type() : DType.F32;
    int rank = sameA ? one.rank() : one.rank() + other.rank();
    int rows = Math.multiplyExact(2, model.intermediateSize());
    Matrix b = matrix(type, rows, rank);
    if (gate != null) {
      copyRows(gate, sameScale, b, 0, 0);
    }
    if (up != null) {
      copyRows(up, sameScale, b, 1, sameA ? 0 : one.rank());
    }
    Matrix a = sameA ? one.a() : stacked(one.a(), other.a());
    return new LoraSlice(0, a, b, sameScale ? one.scale() : 1);
  }

  private Matrix matrix(DType type, int rows, int columns) {
    long bytes = Math.multiplyExact((long) rows * columns, (long) type.bytes());
    return Matrix.of(arena.allocate(bytes, type.bytes()), type, rows, columns);
  }

  private static boolean sameElements(Matrix a, Matrix b) {
    if (a.rows() != b.rows()) {
      return false;
    }
    for (int i = 0; i < a.rows(); i++) {
      for (int j = 0; j < a.columns(); j++) {
        if (a.get(i, j) != b.get(i, j)) {
          return false;
        }
      }
    }
    return true;
  }

  /** Row {@code o} becomes row {@code 2 * o + first}. */
  private static void copyRows(
      LoraSlice from, boolean keepsScale, Matrix to, int first, int column) {
    float factor = keepsScale ? 1 : from.scale();
    for (int o = 0; o < from.b().rows(); o++) {
      for (int r = 0; r < from.rank(); r++) {
        to.set(2 * o + first, column + r, factor * from.b().get(o, r));
      }
    }
  }

  private Matrix stacked(Matrix upper, Matrix lower) {
    DType type = upper.type() == lower.type() ? upper.type() : DType.F32;
    Matrix both = matrix(type, upper.rows() + lower.rows(), upper.columns());
    for (int i = 0; i < both.rows(); i++) {
      Matrix from = i < upper.rows() ? upper : lower;
      int row = i < upper.rows() ? i : i - upper.rows();
      for (int j = 0; j < both.columns(); j++) {
        both.set(i, j, from.get(row, j));
      }
    }
    return both;
  }
}
