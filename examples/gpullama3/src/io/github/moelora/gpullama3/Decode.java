package io.github.moelora.gpullama3;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.function.IntConsumer;

/**
 * Decodes on demand, for {@link Bench}: {@code Decode MODEL SHAPE}. Each line of the input is a
 * slot and a number of tokens, and is answered with the nanoseconds that those took.
 */
public final class Decode {
  /** What a line begins with that answers. */
  static final String ANSWER = "decode: ";

  private Decode() {}

  /** Runs the engine without adapters until its input ends. */
  public static void main(String[] args) throws IOException {
    Shape shape = Shape.named(args[1]);
    Engine engine = Engine.load(Path.of(args[0]), shape.context());
    engine.start();
    serve(engine, shape, slot -> {});
  }

  static void serve(Engine engine, Shape shape, IntConsumer use) throws IOException {
    System.out.println(ANSWER + "ready");
    BufferedReader in =
        new BufferedReader(new InputStreamReader(System.in, StandardCharsets.US_ASCII));
    for (String line = in.readLine(); line != null; line = in.readLine()) {
      String[] words = line.split(" ");
      use.accept(Integer.parseInt(words[0]));
      System.out.println(ANSWER + nanos(engine, shape, Integer.parseInt(words[1])));
    }
  }

  /** Decodes the same tokens each time; that logits are numbers is looked at, too. */
  private static long nanos(Engine engine, Shape shape, int tokens) {
    float sum = 0;
    long start = System.nanoTime();
    for (int position = 0; position < tokens; position++) {
      int token = Math.floorMod(Noise.bits(7, position), shape.vocabulary());
      sum += engine.next(token, position).get(0);
    }
    long nanos = System.nanoTime() - start;
    if (Float.isNaN(sum)) {
      throw new IllegalStateException("the engine's logits must be numbers, got NaN");
    }
    return nanos;
  }
}
