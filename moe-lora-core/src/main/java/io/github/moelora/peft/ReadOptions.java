package io.github.moelora.peft;

import java.util.List;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/**
 * What a caller knows of a file that the file does not say; null means that it is to be found out,
 * or that the file is refused where it cannot be.
 *
 * @param columnOrder order of the columns of a fused B
 * @param orientation which dimension of fused pairs is {@code in}
 * @param nesting which of two nested wrappers is gate and up
 * @param experts part of the path of the experts to read, such as {@code text_moe}, where a model
 *     has several modules of experts with the same layer numbers; the others are left out
 * @param targetParameters names of the fused parameters, in place of the config's {@code
 *     target_parameters}
 * @param zeroExperts how many experts more the first projection has than down, as LongCat's do
 * @param leaveOutUnsupported whether tensors that cannot be applied, such as trained biases and
 *     embeddings, are left out with a warning; the adapter is refused otherwise
 */
public record ReadOptions(
    @Nullable ColumnOrder columnOrder,
    @Nullable Orientation orientation,
    @Nullable Nesting nesting,
    @Nullable String experts,
    @Nullable List<String> targetParameters,
    @Nullable Integer zeroExperts,
    boolean leaveOutUnsupported) {

  /** Nothing is known but what the file says. */
  public static final ReadOptions NONE = new ReadOptions(null, null, null, null, null, null, false);

  /** Order of the columns of a fused B {@code [out, R*E]}. */
  public enum ColumnOrder {
    /** Rank {@code i} of expert {@code e} is column {@code i*E + e}, as PEFT writes it. */
    RANK_MAJOR,
    /** It is column {@code e*R + i}, as Unsloth trained it before September 2026. */
    GROUPED_BY_EXPERT
  }

  /** Order of the wrappers of one module's parameters. */
  public enum Nesting {
    /** The parameter that the module registers first is the innermost: gate and up. */
    REGISTERED,
    /** It is the outermost, as where PEFT wraps parameters in the order of their names. */
    REVERSED
  }

  /**
   * @throws IllegalArgumentException if {@code zeroExperts} is negative or {@code experts} blank
   */
  public ReadOptions {
    if (zeroExperts != null && zeroExperts < 0) {
      throw new IllegalArgumentException("zeroExperts must be at least 0, got " + zeroExperts);
    }
    if (experts != null && experts.isBlank()) {
      throw new IllegalArgumentException("experts must not be blank, got \"" + experts + "\"");
    }
    targetParameters = targetParameters == null ? null : List.copyOf(targetParameters);
  }

  /** The same with this order of a fused B's columns. */
  public ReadOptions withColumnOrder(ColumnOrder order) {
    return new ReadOptions(
        Objects.requireNonNull(order, "order"),
        orientation,
        nesting,
        experts,
        targetParameters,
        zeroExperts,
        leaveOutUnsupported);
  }

  /** The same with this orientation of fused pairs. */
  public ReadOptions withOrientation(Orientation meaning) {
    return new ReadOptions(
        columnOrder,
        Objects.requireNonNull(meaning, "meaning"),
        nesting,
        experts,
        targetParameters,
        zeroExperts,
        leaveOutUnsupported);
  }

  /** The same with this order of nested wrappers. */
  public ReadOptions withNesting(Nesting order) {
    return new ReadOptions(
        columnOrder,
        orientation,
        Objects.requireNonNull(order, "order"),
        experts,
        targetParameters,
        zeroExperts,
        leaveOutUnsupported);
  }

  /** The same, reading only experts whose path holds {@code part}. */
  public ReadOptions withExperts(String part) {
    return new ReadOptions(
        columnOrder,
        orientation,
        nesting,
        Objects.requireNonNull(part, "part"),
        targetParameters,
        zeroExperts,
        leaveOutUnsupported);
  }

  /** The same with these fused parameters. */
  public ReadOptions withTargetParameters(List<String> names) {
    return new ReadOptions(
        columnOrder,
        orientation,
        nesting,
        experts,
        Objects.requireNonNull(names, "names"),
        zeroExperts,
        leaveOutUnsupported);
  }

  /** The same with so many zero experts. */
  public ReadOptions withZeroExperts(int count) {
    return new ReadOptions(
        columnOrder, orientation, nesting, experts, targetParameters, count, leaveOutUnsupported);
  }

  /** The same, leaving out what cannot be applied. */
  public ReadOptions withoutUnsupported() {
    return new ReadOptions(
        columnOrder, orientation, nesting, experts, targetParameters, zeroExperts, true);
  }
}
