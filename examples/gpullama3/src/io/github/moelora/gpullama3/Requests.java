package io.github.moelora.gpullama3;

import java.util.BitSet;
import java.util.function.IntToDoubleFunction;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;
import uk.ac.manchester.tornado.api.types.arrays.FloatArray;

/** Requests to the engine, each of whose logits are compared with those of the float64 model. */
final class Requests {
  /** Largest error in units of the largest logit. */
  static final double TOLERANCE = 2e-5;

  private static final int PROMPT = 4;
  private static final int TOKENS = 12;

  private final Shape shape;
  private final Engine engine;
  private final Reference reference;
  private final Reference plain;
  private int failures;
  private int requests;

  Requests(Shape shape, Engine engine, Reference reference) {
    this.shape = shape;
    this.engine = engine;
    this.reference = reference;
    plain = new Reference(reference);
  }

  /** Feeds a prompt, then the likeliest token each time, and prints how far the logits were off. */
  void run(@Nullable RandomAdapter adapter) {
    run(adapter, TOKENS, () -> adapter);
  }

  /**
   * The same of a request whose adapter changes.
   *
   * @param changeAt position of the first token under the other adapter
   * @param change makes the engine change and returns the other adapter, null for none
   */
  void run(
      @Nullable RandomAdapter adapter,
      int changeAt,
      Supplier<? extends @Nullable RandomAdapter> change) {
    reference.begin(adapter);
    plain.begin(null);
    long seed = Noise.seed(requests++, "prompt");
    double worst = 0;
    double moved = 0;
    BitSet used = new BitSet();
    StringBuilder generated = new StringBuilder();
    int token = Math.floorMod(Noise.bits(seed, 0), shape.vocabulary());
    for (int position = 0; position < TOKENS; position++) {
      if (position == changeAt) {
        reference.use(change.get());
      }
      FloatArray logits = engine.next(token, position);
      double[] expected = reference.next(token);
      double[] unchanged = plain.next(token);
      worst = Math.max(worst, error(i -> logits.get(i), expected));
      moved = Math.max(moved, error(i -> unchanged[i], expected));
      if (position + 1 < PROMPT) {
        token = Math.floorMod(Noise.bits(seed, position + 1), shape.vocabulary());
      } else {
        used.set(token);
        token = likeliest(logits, used);
        generated.append(' ').append(token);
      }
    }
    // an adapter that changes nothing would prove nothing
    boolean right = worst <= TOLERANCE && (adapter == null || moved >= 1000 * TOLERANCE);
    failures += right ? 0 : 1;
    System.out.printf(
        "  request %d, %-11s %s: off by %.1e of the largest logit%s, tokens%s%n",
        requests,
        adapter == null ? "no adapter" : adapter.name(),
        right ? "right" : "WRONG",
        worst,
        adapter == null ? "" : " (the adapter moves them by %.1e)".formatted(moved),
        generated);
  }

  /** Prints the sum of it; whether all were right. */
  boolean finish() {
    System.out.printf(
        "%d of %d requests right, to %.0e; the narrowest choice of an expert was by %.0e%n",
        requests - failures, requests, TOLERANCE, reference.narrowestChoice());
    return failures == 0;
  }

  private static double error(IntToDoubleFunction logits, double[] expected) {
    double largest = 0;
    double error = 0;
    for (int i = 0; i < expected.length; i++) {
      double off = Math.abs(logits.applyAsDouble(i) - expected[i]);
      largest = Math.max(largest, Math.abs(expected[i]));
      // a NaN is an error, too
      error = off <= error ? error : Double.isNaN(off) ? Double.POSITIVE_INFINITY : off;
    }
    return error / largest;
  }

  /** Leaves out what was there before, since models of random weights repeat themselves. */
  private static int likeliest(FloatArray logits, BitSet used) {
    int best = used.nextClearBit(0);
    for (int i = best; i < logits.getSize(); i = used.nextClearBit(i + 1)) {
      best = logits.get(i) > logits.get(best) ? i : best;
    }
    return best;
  }
}
