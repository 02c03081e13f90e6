package io.github.moelora.peft;

import io.github.moelora.MoeModel;
import io.github.moelora.peft.PeftAdapter.Entry;
import io.github.moelora.peft.PeftAdapter.Linear;
import io.github.moelora.peft.PeftAdapter.Packing;
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
 * parameters stored {@code [E, in, out]} (gpt-oss, Llama 4, Aria) and swaps the others, unless
 * transformers 5 loaded the adapter and corrected it. 0.19.0 swaps those that were right if the
 * model says that they are stored so. From 0.19.1 on all are right, but for models stored {@code
 * [E, in, out]} which do not say so: all of transformers 4, and Llama 4 and Aria of transformers 5.
 */
public enum Orientation {
  /** A {@code [E*R, in]}, B {@code [out, R*E]}, with in and out those of the projection. */
  PROJECTION,
  /** A {@code [E*R, out]}, B {@code [in, R*E]}. */
  SWAPPED;

  /** How a model stores the parameters of its experts. */
  enum Storage {
    /** {@code [E, out, in]}. */
    OUT_IN,
    /** {@code [E, in, out]}, and transformers 5 tells PEFT. */
    IN_OUT_TOLD,
    /** {@code [E, in, out]}, and no version tells PEFT. */
    IN_OUT_UNTOLD,
    /** Not known. */
    UNKNOWN
  }

  /** {@code H} and {@code I} as a pair tells them. */
  record Widths(long hidden, long intermediate) {}

  /** Input width of the projection; of a stack without a number of experts, that of all. */
  int in(Entry entry) {
    boolean projection = this == PROJECTION;
    List<Long> a = entry.a().shape();
    List<Long> b = entry.b().shape();
    return Math.toIntExact(
        switch (entry.packing()) {
          case SINGLE, STACKED -> projection ? a.get(1) : b.get(0);
          case PACKED -> a.get(2);
          case PACKED_TURNED -> a.get(1);
          case ROWS -> entry.linear() == Linear.DOWN ? b.get(0) : a.get(1);
        });
  }

  /** Output width of the linear layer; of a stack without a number of experts, that of all. */
  int out(Entry entry) {
    boolean projection = this == PROJECTION;
    List<Long> a = entry.a().shape();
    List<Long> b = entry.b().shape();
    return Math.toIntExact(
        switch (entry.packing()) {
          case SINGLE, STACKED -> projection ? b.get(0) : a.get(1);
          case PACKED -> b.get(1);
          case PACKED_TURNED -> b.get(2);
          case ROWS -> entry.linear() == Linear.DOWN ? a.get(1) : b.get(0);
        });
  }

  /**
   * What a pair tells, or null if it cannot be read so. Of a stack of all experts' rows, the
   * intermediate width is that of all together.
   */
  @Nullable Widths widths(Entry entry) {
    if (this == SWAPPED && entry.packing() != Packing.STACKED) {
      return null;
    }
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

  /** Orientations that a version may have written. */
  static Set<Orientation> written(Era era, Storage storage) {
    EnumSet<Orientation> either = EnumSet.allOf(Orientation.class);
    return switch (era) {
      case POSITIONAL ->
          storage == Storage.IN_OUT_TOLD || storage == Storage.IN_OUT_UNTOLD
              ? EnumSet.of(PROJECTION)
              : either;
      case MIXED -> either;
      case ORIENTED -> storage == Storage.OUT_IN ? EnumSet.of(PROJECTION) : either;
    };
  }

  /** Whether a pair has the model's widths. */
  boolean fits(Entry entry, MoeModel model) {
    int each = entry.packing() == Packing.ROWS ? model.experts() : 1;
    boolean down = entry.linear() == Linear.DOWN;
    return in(entry) == (long) model.inputWidth(entry.linear().projection()) * (down ? each : 1)
        && out(entry) == (long) width(entry.linear(), model) * (down ? 1 : each);
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
