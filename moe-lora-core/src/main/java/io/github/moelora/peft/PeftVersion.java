package io.github.moelora.peft;

import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;

/**
 * The version of PEFT that saved an adapter, as far as it decides how the file is read. PEFT
 * records it from 0.18.0 on.
 */
record PeftVersion(String text, Era era) {

  /** How {@code in} and {@code out} of a three-dimensional parameter were chosen. */
  enum Era {
    /** Up to 0.18.1: the second dimension is {@code in}, the third {@code out}. */
    POSITIONAL,
    /** 0.19.0 and unreleased versions around it: swapped for the wrong models. */
    MIXED,
    /**
     * From 0.19.1 on: as the projection has them, also for parameters stored {@code [E, in, out]}
     * if the model says so.
     */
    ORIENTED
  }

  private static final String UNRECORDED = "unrecorded";

  /** Ranks of {@code layers_to_transform} are layer numbers for sure from this version on. */
  private static final int[] LAYERS_RIGHT = {0, 20, 0};

  private static final int[] LAST_POSITIONAL = {0, 18, 1};
  private static final int[] FIRST_ORIENTED = {0, 19, 1};

  private static final Pattern VERSION =
      Pattern.compile("(\\d{1,6})\\.(\\d{1,6})(?:\\.(\\d{1,6}))?(\\D.*)?");

  /** A version that the config does not record. */
  static PeftVersion unrecorded() {
    return new PeftVersion(UNRECORDED, Era.POSITIONAL);
  }

  /** Whether the config records it. */
  boolean isRecorded() {
    return !text.equals(UNRECORDED);
  }

  /** Parses a recorded version, or returns null if it is none. */
  static @Nullable PeftVersion parse(String text) {
    Matcher matcher = VERSION.matcher(text);
    if (!matcher.matches()) {
      return null;
    }
    String suffix = matcher.group(4);
    boolean released = suffix == null || suffix.startsWith(".post") || suffix.startsWith("+");
    int[] version = numbers(matcher);
    Era era;
    if (compare(version, LAST_POSITIONAL) <= 0) {
      era = Era.POSITIONAL;
    } else if (compare(version, FIRST_ORIENTED) > 0
        || (released && compare(version, FIRST_ORIENTED) == 0)) {
      era = Era.ORIENTED;
    } else {
      era = Era.MIXED;
    }
    return new PeftVersion(text, era);
  }

  private static int[] numbers(Matcher matcher) {
    String patch = matcher.group(3);
    return new int[] {
      Integer.parseInt(matcher.group(1)),
      Integer.parseInt(matcher.group(2)),
      patch == null ? 0 : Integer.parseInt(patch)
    };
  }

  private static int compare(int[] a, int[] b) {
    return java.util.Arrays.compare(a, b);
  }

  /**
   * Whether {@code layers_to_transform} surely means layers; before, PEFT could take the expert's
   * number in a module's name for the layer's.
   */
  boolean takesLayersRight() {
    Matcher matcher = VERSION.matcher(text);
    return matcher.matches() && compare(numbers(matcher), LAYERS_RIGHT) >= 0;
  }

  @Override
  public String toString() {
    return text;
  }
}
