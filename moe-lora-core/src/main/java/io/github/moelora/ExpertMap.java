package io.github.moelora;

import java.util.Arrays;
import java.util.Objects;

/**
 * Which experts of the model live here, for expert parallelism: global expert id to local id, or -1
 * for an expert that lives elsewhere.
 *
 * <p>Immutable.
 */
public final class ExpertMap {
  private final int[] local;
  private final int[] global;

  private ExpertMap(int[] local, int localExperts) {
    this.local = local;
    this.global = new int[localExperts];
    Arrays.fill(global, -1);
    for (int e = 0; e < local.length; e++) {
      if (local[e] >= 0) {
        if (global[local[e]] >= 0) {
          throw new IllegalArgumentException(
              "local[%d] must differ from local[%d], got %d"
                  .formatted(e, global[local[e]], local[e]));
        }
        global[local[e]] = e;
      }
    }
  }

  /** All {@code experts} live here under their own ids. */
  public static ExpertMap identity(int experts) {
    Checks.atLeast("experts", experts, 1);
    int[] local = new int[experts];
    Arrays.setAll(local, e -> e);
    return new ExpertMap(local, experts);
  }

  /**
   * An explicit map.
   *
   * @param local in, {@code [E]}: local id of each global expert; the ids that are not -1 must be
   *     {@code 0 .. n-1}, each once
   */
  public static ExpertMap of(int... local) {
    Objects.requireNonNull(local, "local must not be null");
    Checks.atLeast("local.length", local.length, 1);
    int here = (int) Arrays.stream(local).filter(id -> id != -1).count();
    for (int e = 0; e < local.length; e++) {
      Checks.inRange("local[" + e + "]", local[e], -1, here);
    }
    return new ExpertMap(local.clone(), here);
  }

  /** Number {@code E} of experts of the whole model. */
  public int experts() {
    return local.length;
  }

  /** Number of experts that live here. */
  public int localExperts() {
    return global.length;
  }

  /**
   * Local id of a global expert, or -1.
   *
   * @param expert in {@code [0, E)}
   */
  public int local(int expert) {
    if (expert < 0 || expert >= local.length) {
      Checks.inRange("expert", expert, 0, local.length);
    }
    return local[expert];
  }

  /**
   * Global id of a local expert.
   *
   * @param localExpert in {@code [0, localExperts)}
   */
  public int global(int localExpert) {
    if (localExpert < 0 || localExpert >= global.length) {
      Checks.inRange("localExpert", localExpert, 0, global.length);
    }
    return global[localExpert];
  }
}
