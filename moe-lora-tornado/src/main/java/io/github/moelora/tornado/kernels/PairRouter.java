package io.github.moelora.tornado.kernels;

import io.github.moelora.tornado.layout.PairMode;
import io.github.moelora.tornado.layout.Sizes;
import io.github.moelora.tornado.layout.StepWords;
import uk.ac.manchester.tornado.api.KernelContext;
import uk.ac.manchester.tornado.api.math.TornadoMath;
import uk.ac.manchester.tornado.api.types.arrays.FloatArray;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;

/**
 * A stage of {@link PairKernels}: the router's choice, where the mode leaves it to the kernel.
 *
 * <p>Each work-group finds out for itself what its token's experts are, which takes no barrier
 * between work-groups: a thread has an expert and counts how many come before it.
 */
final class PairRouter {
  /** Logits that a thread reads at once. */
  private static final int BATCH = 8;

  private PairRouter() {}

  /**
   * The expert of a pair: the router's, or the one that the logits put in the pair's place. All
   * threads of the work-group call it; the item with the pair's first columns stores the choice.
   *
   * @param expertIds in, or out where the mode chooses, int32 {@code [T, K]}
   * @param routingWeights out where the mode chooses, float32 {@code [T, K]}, then {@code [T]}
   * @param logits in where the mode chooses, float32 {@code [T, E]}, or {@code [T, E + 1]}
   */
  static int expert(
      KernelContext ctx,
      IntArray step,
      int[] sizes,
      IntArray expertIds,
      FloatArray routingWeights,
      FloatArray logits,
      int[] item,
      int pair,
      int tid,
      int mode) {
    int expert;
    if (PairMode.has(mode, PairMode.CHOOSES)) {
      int[] chosen = ctx.allocateIntLocalArray(PairKernels.MOST_CHOICES);
      int perToken = step.get(StepWords.EXPERTS_PER_TOKEN);
      int experts = step.get(StepWords.EXPERTS);
      int token = pair / perToken;
      int from = token * (experts + (PairMode.has(mode, PairMode.SHARED_SCORE) ? 1 : 0));
      // others may still read what was chosen for the item before
      ctx.localBarrier();
      if (tid < perToken) {
        // logits that are no numbers may leave a place empty
        chosen[tid] = -1;
      }
      ctx.localBarrier();
      // as many threads as any work-group has
      for (int e = tid < PairKernels.FLOAT_THREADS ? tid : experts;
          e < experts;
          e += PairKernels.FLOAT_THREADS) {
        int rank = rank(logits, from, experts, e);
        if (rank < perToken) {
          chosen[rank] = e;
        }
      }
      ctx.localBarrier();
      expert = chosen[pair - token * perToken];
      if (tid == (item[PairItem.FIRST] == 0 ? 0 : -1)) {
        float top = logits.get(from + Math.max(0, chosen[0]));
        float sum = 0.0f;
        if (PairMode.has(mode, PairMode.RENORMALIZED)) {
          for (int k = 0; k < perToken; k++) {
            sum += TornadoMath.exp(logits.get(from + Math.max(0, chosen[k])) - top);
          }
        } else {
          for (int e = 0; e < experts; e++) {
            sum += TornadoMath.exp(logits.get(from + e) - top);
          }
        }
        float own = TornadoMath.exp(logits.get(from + Math.max(0, expert)) - top);
        expertIds.set(pair, expert);
        routingWeights.set(pair, own / sum);
        if (PairMode.has(mode, PairMode.SHARED_SCORE)) {
          // the same from each pair of the token
          float score = logits.get(from + experts);
          routingWeights.set(
              sizes[Sizes.MAX_PAIRS] + token, 1.0f / (1.0f + TornadoMath.exp(-score)));
        }
      }
    } else {
      expert = expertIds.get(pair);
    }
    return expert;
  }

  /** {@link #expert} of an item's first pair. */
  static int first(
      KernelContext ctx,
      IntArray step,
      int[] sizes,
      IntArray expertIds,
      FloatArray routingWeights,
      FloatArray logits,
      int[] item,
      int tid,
      int mode) {
    int pair = item[PairItem.FIRST_PAIR];
    return expert(ctx, step, sizes, expertIds, routingWeights, logits, item, pair, tid, mode);
  }

  /** How many experts have larger logits, or the same and a smaller number. */
  private static int rank(FloatArray logits, int from, int experts, int e) {
    float own = logits.get(from + e);
    int rank = 0;
    for (int first = 0; first < experts; first += BATCH) {
      float[] others = new float[BATCH];
      for (int i = 0; i < BATCH; i++) {
        others[i] = logits.get(from + Math.min(first + i, experts - 1));
      }
      for (int i = 0; i < BATCH; i++) {
        int before = others[i] > own ? 1 : 0;
        if (first + i < e) {
          before = others[i] >= own ? 1 : 0;
        }
        rank += before * Math.min(1, Math.max(0, experts - first - i));
      }
    }
    return rank;
  }
}
