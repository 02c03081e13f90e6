package io.github.moelora.gpullama3;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/**
 * Tokens per second of the engine, without the library and with it, side by side: {@code Bench
 * MODEL SHAPE TOKENS ROUNDS BASE_CLASSPATH CLASSPATH JAVA FLAG...}. Each is a process of its own
 * with the same weights on the GPU; they take turns, a round each, and the other waits. The first
 * two rounds warm up; of the others the median counts.
 */
public final class Bench {
  private static final int WARM_UP = 2;

  /**
   * A row of the table: a request with an adapter or none, and what share of the base it must
   * reach.
   */
  private record Row(String name, boolean library, int slot, double target) {}

  private static final List<Row> ROWS =
      List.of(
          new Row("engine without the library", false, -1, 0),
          new Row("no adapter, two loaded", true, -1, 0.99),
          new Row("adapter of rank 16", true, 0, 0.95),
          new Row("adapter of rank 64", true, 1, 0.90));

  /** An engine in a process of its own. */
  private static final class Child implements AutoCloseable {
    private final String name;
    private final Process process;
    private final BufferedReader out;
    private final PrintStream in;

    Child(String name, List<String> command) throws IOException {
      this.name = name;
      process = new ProcessBuilder(command).redirectError(ProcessBuilder.Redirect.INHERIT).start();
      out =
          new BufferedReader(
              new InputStreamReader(process.getInputStream(), StandardCharsets.UTF_8));
      in = new PrintStream(process.getOutputStream(), true, StandardCharsets.US_ASCII);
    }

    String answer() throws IOException {
      for (String line = out.readLine(); line != null; line = out.readLine()) {
        if (line.startsWith(Decode.ANSWER)) {
          return line.substring(Decode.ANSWER.length());
        }
        System.out.println(name + ": " + line);
      }
      throw new IOException("the engine's process ended: " + name);
    }

    double tokensPerSecond(int slot, int tokens) throws IOException {
      in.println(slot + " " + tokens);
      return tokens * 1e9 / Long.parseLong(answer());
    }

    @Override
    public void close() {
      in.close();
      process.destroy();
    }
  }

  private Bench() {}

  /** Prints the table; exits with 1 if a target is missed. */
  public static void main(String[] args) throws IOException {
    List<String> model = List.of(args).subList(0, 2);
    int tokens = Integer.parseInt(args[2]);
    int rounds = Integer.parseInt(args[3]);
    List<String> java = List.of(args).subList(6, args.length);
    long start = System.nanoTime();
    try (Child base = new Child("base", command(java, args[4], "Decode", model));
        Child library = new Child("library", command(java, args[5], "DecodeAdapters", model))) {
      base.answer();
      library.answer();
      System.out.printf("both engines ready after %.0f s%n", (System.nanoTime() - start) / 1e9);
      double[][] speeds = new double[ROWS.size()][rounds];
      for (int round = -WARM_UP; round < rounds; round++) {
        for (int row = 0; row < ROWS.size(); row++) {
          Row what = ROWS.get(row);
          double speed = (what.library() ? library : base).tokensPerSecond(what.slot(), tokens);
          if (round >= 0) {
            speeds[row][round] = speed;
          }
        }
      }
      System.exit(report(speeds) ? 0 : 1);
    }
  }

  private static List<String> command(
      List<String> java, String classpath, String main, List<String> model) {
    List<String> command = new ArrayList<>(java);
    command.addAll(List.of("-cp", classpath, Bench.class.getPackageName() + "." + main));
    command.addAll(model);
    return command;
  }

  private static boolean report(double[][] speeds) {
    double base = median(speeds[0]);
    boolean met = true;
    for (int row = 0; row < ROWS.size(); row++) {
      Row what = ROWS.get(row);
      double speed = median(speeds[row]);
      boolean enough = speed >= what.target() * base;
      met &= enough;
      System.out.printf(
          "%-28s %8.2f tokens/s (%.2f to %.2f)  %5.1f %%%s%n",
          what.name(),
          speed,
          Arrays.stream(speeds[row]).min().orElseThrow(),
          Arrays.stream(speeds[row]).max().orElseThrow(),
          100 * speed / base,
          what.target() == 0
              ? ""
              : "  (at least %.0f %%: %s)"
                  .formatted(100 * what.target(), enough ? "met" : "MISSED"));
    }
    return met;
  }

  private static double median(double[] values) {
    double[] sorted = values.clone();
    Arrays.sort(sorted);
    int half = sorted.length / 2;
    return sorted.length % 2 == 1 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
  }
}
