package io.github.moelora.peft;

import io.github.moelora.MoeModel;
import io.github.moelora.peft.PeftAdapter.Entry;
import io.github.moelora.peft.PeftAdapter.Linear;
import io.github.moelora.peft.PeftVersion.Era;
import java.util.EnumSet;
import java.util.List;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/**
 * Meaning of the dimensions of fused pairs. A file has one, since all its modules are of one class
 * and went through one version of PEFT.
 *
 * <p>PEFT up to 0.18.1 takes the second dimension of a parameter for {@code in}, which is right for
 * parameters stored {@code [E, in, out]} (gpt-oss, Llama 4) and swaps the others, unless
 * transformers 5 loaded the adapter and corrected it. 0.19.0 swaps those that were right if the
 * model says that they are stored so. From 0.19.1 on all are right, but for models of transformers
 * 4 stored {@code [E, in, out]}, which do not say so.
 */
enum Orientation {
  /** A {@code [E*R, in]}, B {@code [out, R*E]}, with in and out those of the projection. */
  PROJECTION,
  /** A {@code [E*R, out]}, B {@code [in, R*E]}. */
  SWAPPED;

  /** {@code H} and {@code I} as a pair tells them. */
  record Widths(long hidden, long intermediate) {}

  /** Input width of the projection. */
  int in(Entry entry) {
    return Math.toIntExact(
        this == PROJECTION ? entry.a().shape().get(1) : entry.b().shape().get(0));
  }

  /** Output width of the linear layer. */
  int out(Entry entry) {
    return Math.toIntExact(
        this == PROJECTION ? entry.b().shape().get(0) : entry.a().shape().get(1));
  }

  /** What a pair tells, or null if it cannot be read so. */
  @Nullable Widths widths(Entry entry) {
    int in = in(entry);
    int out = out(entry);
    return switch (entry.linear()) {
      case DOWN -> new Widths(out, in);
      case GATE_UP -> out % 2 == 0 ? new Widths(in, out / 2) : null;
      case GATE, UP -> new Widths(in, out);
    };
  }

  /** The widths that all pairs agree on, or null. */
  @Nullable Widths widths(List<Entry> entries) {
    Widths agreed = null;
    for (Entry entry : entries) {
      Widths widths = widths(entry);
      if (widths == null || (agreed != null && !agreed.equals(widths))) {
        return null;
      }
      agreed = widths;
    }
    return agreed;
  }

  /** Orientations in which all pairs agree on the widths. */
  static Set<Orientation> consistent(List<Entry> entries) {
    Set<Orientation> found = EnumSet.noneOf(Orientation.class);
    for (Orientation orientation : values()) {
      if (orientation.widths(entries) != null) {
        found.add(orientation);
      }
    }
    return found;
  }

  /**
   * Orientations that a version may have written.
   *
   * @param stored whether the parameters are stored {@code [E, in, out]}
   */
  static Set<Orientation> written(Era era, boolean stored) {
    return switch (era) {
      case POSITIONAL -> stored ? EnumSet.of(PROJECTION) : EnumSet.allOf(Orientation.class);
      case MIXED -> EnumSet.allOf(Orientation.class);
      case ORIENTED -> stored ? EnumSet.allOf(Orientation.class) : EnumSet.of(PROJECTION);
    };
  }

  /** Whether a pair has the model's widths. */
  boolean fits(Entry entry, MoeModel model) {
    return in(entry) == model.inputWidth(entry.linear().projection())
        && out(entry) == width(entry.linear(), model);
  }

  /** Output width that a linear layer of the model has. */
  static int width(Linear linear, MoeModel model) {
    return switch (linear) {
      case GATE, UP -> model.intermediateSize();
      case GATE_UP -> 2 * model.intermediateSize();
      case DOWN -> model.hiddenSize();
    };
  }
}
