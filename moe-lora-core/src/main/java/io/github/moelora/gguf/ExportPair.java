package io.github.moelora.gguf;

import io.github.moelora.DType;
import io.github.moelora.GateUp;
import io.github.moelora.LoraSlice;
import io.github.moelora.Projection;
import io.github.moelora.safetensors.FiniteScan;
import java.lang.foreign.MemorySegment;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * One pair to be written: A is {@code [E, R, in]}, B {@code [E, rows, R]}, or both without the
 * experts for a plain linear layer.
 */
final class ExportPair {
  private final String weight;
  private final List<List<LoraSlice>> experts;
  private final ExportTarget target;
  private final int in;
  private final int rank;
  private final boolean stacked;

  /**
   * @param weight name of the weight
   * @param experts the slices of each expert that change it, none where the adapter does not
   * @param in input width
   */
  ExportPair(String weight, List<List<LoraSlice>> experts, ExportTarget target, int in) {
    this(weight, experts, target, in, true);
  }

  private ExportPair(
      String weight, List<List<LoraSlice>> experts, ExportTarget target, int in, boolean stacked) {
    this.weight = weight;
    this.experts = experts;
    this.target = target;
    this.in = in;
    this.stacked = stacked;
    this.rank =
        experts.stream()
            .mapToInt(slices -> slices.stream().mapToInt(LoraSlice::rank).sum())
            .max()
            .orElse(0);
  }

  /** The pair of a weight outside the routed experts; one expert for a plain linear layer. */
  static ExportPair ofModule(String weight, List<List<LoraSlice>> experts) {
    LoraSlice first = experts.getFirst().getFirst();
    ExportTarget all =
        new ExportTarget(weight, Projection.DOWN, first.columns(), GateUp.UP_ONLY, 0, true);
    return new ExportPair(weight, experts, all, first.a().columns(), experts.size() > 1);
  }

  List<List<LoraSlice>> experts() {
    return experts;
  }

  /**
   * Rank of the tensors, the largest of all experts; 0 if the adapter does not change the weight.
   */
  int rank() {
    return rank;
  }

  /** What a slice's B is multiplied with, so that {@code alpha / R} of the file gives its scale. */
  private double factor(LoraSlice slice, float alpha) {
    double factor = (double) slice.scale() * rank / alpha;
    // llama.cpp rounds alpha / R to float32 as the scale was; closer than that is the same
    return Math.abs(factor - 1) <= 0x1p-23 ? 1 : factor;
  }

  /** Whether B of a slice is multiplied with anything but 1. */
  boolean isFolded(float alpha) {
    return experts.stream().flatMap(List::stream).anyMatch(slice -> factor(slice, alpha) != 1);
  }

  /** Appends both tensors. */
  void addTo(GgufWriter writer, DType type, float alpha) {
    boolean turned = !stacked && GgufModule.isEmbedding(weight);
    List<Long> shapeA = turned ? List.of((long) in, (long) rank) : shape(experts.size(), rank, in);
    GgmlType stored = GgmlType.of(type);
    writer.tensor(weight + ".lora_a", stored, shapeA, data -> fillA(data, type, turned));
    writer.tensor(
        weight + ".lora_b",
        stored,
        shape(experts.size(), target.rows(), rank),
        data -> fillB(data, type, alpha));
  }

  private List<Long> shape(long count, long rows, long columns) {
    return stacked ? List.of(count, rows, columns) : List.of(rows, columns);
  }

  private void fillA(MemorySegment data, DType type, boolean turned) {
    for (int expert = 0; expert < experts.size(); expert++) {
      long row = (long) expert * rank;
      for (LoraSlice slice : experts.get(expert)) {
        for (int r = 0; r < slice.rank(); r++, row++) {
          for (int h = 0; h < in; h++) {
            long at = turned ? (long) h * rank + row : row * in + h;
            type.set(data, at, slice.a().get(r, h));
          }
        }
      }
    }
    requireInRange(data, type, "lora_a", null);
  }

  private void fillB(MemorySegment data, DType type, float alpha) {
    for (int expert = 0; expert < experts.size(); expert++) {
      int rankFrom = 0;
      for (LoraSlice slice : experts.get(expert)) {
        double factor = factor(slice, alpha);
        for (int row = 0; row < target.rows(); row++) {
          if (target.covers(slice, row)) {
            int o = target.column(row) - slice.firstColumn();
            long at = ((long) expert * target.rows() + row) * rank + rankFrom;
            for (int r = 0; r < slice.rank(); r++) {
              type.set(data, at + r, (float) (factor * slice.b().get(o, r)));
            }
          }
        }
        rankFrom += slice.rank();
      }
    }
    requireInRange(data, type, "lora_b", alpha);
  }

  private void requireInRange(MemorySegment data, DType type, String half, @Nullable Float alpha) {
    long at = FiniteScan.firstNonFinite(data, type);
    if (at >= 0) {
      throw new IllegalArgumentException(
          "%s.%s: every element%s must be within %s of %s, got element %d beyond it"
              .formatted(
                  weight,
                  half,
                  alpha == null ? "" : ", for alpha " + alpha + ",",
                  type.maxValue(),
                  type,
                  at));
    }
  }
}
