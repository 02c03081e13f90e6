package io.github.moelora.gpullama3;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.stream.DoubleStream;
import java.util.stream.Stream;

/**
 * Tokens per second of the engine with the library beside the engine without it: {@code Bench MODEL
 * SHAPE MODES TOKENS ROUNDS BASE_CLASSPATH CLASSPATH JAVA FLAG...}. MODES are ways of the engine to
 * run, {@code default} or {@code graphs}, with a comma between.
 *
 * <p>In each mode both are processes of their own with the same weights on the GPU, which take
 * turns while all others wait: a round is one of the base and right after it one of each row, so a
 * share is that of two neighbours. The first two rounds warm up; of the others medians count.
 */
public final class Bench {
  private static final int WARM_UP = 2;

  /** Arguments before the flags of the JVM. */
  private static final int OWN = 7;

  /** A row of the table: requests with an adapter or none, and what share of the base they need. */
  private record Row(String name, int slot, double target) {}

  private static final List<Row> ROWS =
      List.of(
          new Row("no adapter, two loaded", -1, 0.99),
          new Row("adapter of rank 16", 0, 0.95),
          new Row("adapter of rank 64", 1, 0.90));

  /** What was measured of a row, in the order of the rounds. */
  private record Speeds(double[] base, double[] own) {
    double[] shares() {
      double[] shares = new double[own.length];
      Arrays.setAll(shares, round -> own[round] / base[round]);
      return shares;
    }
  }

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

  /** Both engines in one mode. */
  private record Pair(String mode, Child base, Child library) implements AutoCloseable {
    static Pair start(String mode, String[] args) throws IOException {
      List<String> java = new ArrayList<>(List.of(args).subList(OWN, args.length));
      java.add("-Dllama.cudaGraphs=" + mode.equals("graphs"));
      List<String> model = List.of(args).subList(0, 2);
      Child base = new Child(mode + ", base", command(java, args[5], "Decode", model));
      Child library =
          new Child(mode + ", library", command(java, args[6], "DecodeAdapters", model));
      return new Pair(mode, base, library);
    }

    private static List<String> command(
        List<String> java, String classpath, String main, List<String> model) {
      String name = Bench.class.getPackageName() + "." + main;
      return Stream.of(java, List.of("-cp", classpath, name), model).flatMap(List::stream).toList();
    }

    Speeds[] measure(int tokens, int rounds) throws IOException {
      Speeds[] speeds = new Speeds[ROWS.size()];
      Arrays.setAll(speeds, row -> new Speeds(new double[rounds], new double[rounds]));
      for (int round = -WARM_UP; round < rounds; round++) {
        for (int row = 0; row < speeds.length; row++) {
          double baseSpeed = base.tokensPerSecond(-1, tokens);
          double own = library.tokensPerSecond(ROWS.get(row).slot(), tokens);
          if (round >= 0) {
            speeds[row].base()[round] = baseSpeed;
            speeds[row].own()[round] = own;
          }
        }
      }
      return speeds;
    }

    @Override
    public void close() {
      base.close();
      library.close();
    }
  }

  private Bench() {}

  /** Prints the table; exits with 1 if a target is missed. */
  public static void main(String[] args) throws IOException {
    String[] modes = args[2].split(",");
    int tokens = Integer.parseInt(args[3]);
    int rounds = Integer.parseInt(args[4]);
    long start = System.nanoTime();
    List<Pair> pairs = new ArrayList<>();
    boolean met = true;
    try {
      for (String mode : modes) {
        pairs.add(Pair.start(mode, args));
      }
      for (Pair pair : pairs) {
        pair.base().answer();
        pair.library().answer();
      }
      System.out.printf("all engines ready after %.0f s%n", (System.nanoTime() - start) / 1e9);
      System.out.printf("medians (quartiles) of %d rounds of %d tokens%n", rounds, tokens);
      for (Pair pair : pairs) {
        met &= report(pair.mode(), pair.measure(tokens, rounds));
      }
    } finally {
      pairs.forEach(Pair::close);
    }
    System.exit(met ? 0 : 1);
  }

  private static boolean report(String mode, Speeds[] speeds) {
    double[] base =
        Arrays.stream(speeds).flatMapToDouble(each -> DoubleStream.of(each.base())).toArray();
    System.out.printf(
        "%-8s %-28s %s tokens/s%n", mode, "engine without the library", text(base, 1));
    boolean met = true;
    for (int row = 0; row < speeds.length; row++) {
      Row what = ROWS.get(row);
      double[] shares = speeds[row].shares();
      boolean enough = quantile(shares, 0.5) >= what.target();
      met &= enough;
      System.out.printf(
          "%-8s %-28s %s tokens/s  %s %%  (at least %.0f: %s)%n",
          mode,
          what.name(),
          text(speeds[row].own(), 1),
          text(shares, 100),
          100 * what.target(),
          enough ? "met" : "MISSED");
    }
    return met;
  }

  private static String text(double[] values, double unit) {
    return "%6.1f (%.1f to %.1f)"
        .formatted(
            unit * quantile(values, 0.5),
            unit * quantile(values, 0.25),
            unit * quantile(values, 0.75));
  }

  /** Between two values, a share of both. */
  private static double quantile(double[] values, double part) {
    double[] sorted = values.clone();
    Arrays.sort(sorted);
    double at = part * (sorted.length - 1);
    int low = (int) at;
    int high = Math.min(low + 1, sorted.length - 1);
    return sorted[low] + (at - low) * (sorted[high] - sorted[low]);
  }
}
