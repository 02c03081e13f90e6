package io.github.moelora.bench.gpu;

import io.github.moelora.DType;
import io.github.moelora.ExpertMap;
import io.github.moelora.GateUp;
import io.github.moelora.LoraAdapter;
import io.github.moelora.Matrix;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.MoeModel;
import io.github.moelora.Projection;
import io.github.moelora.ProjectionCall;
import io.github.moelora.Shard;
import io.github.moelora.reference.Reference;
import io.github.moelora.workload.Batch;
import io.github.moelora.workload.Bits;
import io.github.moelora.workload.Check;
import io.github.moelora.workload.Preset;
import io.github.moelora.workload.RandomAdapters;
import io.github.moelora.workload.Workload;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.SplittableRandom;
import java.util.concurrent.Callable;
import java.util.concurrent.CyclicBarrier;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.stream.IntStream;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;

/**
 * Spreads the LoRA layer of Qwen3-30B-A3B over two devices, by tensor and by expert parallelism,
 * and compares with one device: results on sampled tokens, the layer's time against the slower of
 * both parts, and whether both run at once. Started by {@code scripts/bench-gpu --shards --devices
 * 0,1}; with one device named twice it checks results alone.
 */
@Command(
    name = "bench-gpu --shards",
    mixinStandardHelpOptions = true,
    showDefaultValues = true,
    description = {
      "Spreads a LoRA layer over two devices and compares with one.",
      "The exit code is 1 if a result is wrong."
    })
final class BenchShards implements Callable<Integer> {
  private static final int PARTS = 2;
  private static final int SAMPLES = 8;
  private static final int SLOTS = 2;

  @Option(names = "--devices", split = ",", paramLabel = "DEVICE", description = "Two devices.")
  private List<String> devices = List.of("0", "1");

  @Option(names = "--tokens", split = ",", paramLabel = "T", description = "Batch sizes.")
  private List<Integer> tokens = List.of(80, 8192);

  @Option(names = "--rank", paramLabel = "R", description = "Rank of the adapters.")
  private int rank = 64;

  @Option(names = "--type", paramLabel = "TYPE", description = "Type of weights and activations.")
  private DType type = DType.BF16;

  @Option(names = "--tiny", description = "A tiny shape, to check the program itself.")
  private boolean tiny;

  @Option(names = "--runs", paramLabel = "N", description = "Graphs of five layers to run at once.")
  private int runs = 40;

  @Option(names = "--seed", paramLabel = "N", description = "Seed of all random numbers.")
  private long seed = 1;

  /**
   * A way to spread a layer.
   *
   * @param name for people
   * @param shard what each part has of the widths
   * @param experts which experts each part has
   */
  private record Spread(String name, List<Shard> shard, List<ExpertMap> experts) {}

  /** What both parts took. */
  private record Times(double[] layerNanos, double together) {}

  /** Runs the command and ends the JVM. */
  public static void main(String[] args) {
    int code = new CommandLine(new BenchShards()).execute(args);
    // TornadoVM's threads would keep the JVM
    System.exit(code);
  }

  @Override
  public Integer call() throws Exception {
    if (devices.size() != PARTS) {
      throw new IllegalArgumentException("--devices must name two, got " + devices);
    }
    Preset preset =
        tiny
            ? new Preset("tiny", new MoeModel(64, 64, 6, GateUp.HALVES, List.of(0)), 2)
            : Preset.of("qwen3-30b-a3b");
    int experts = preset.model().experts();
    List<Spread> spreads =
        List.of(
            new Spread(
                "tensor parallel 2",
                List.of(new Shard(0, PARTS), new Shard(1, PARTS)),
                List.of(ExpertMap.identity(experts), ExpertMap.identity(experts))),
            new Spread(
                "expert parallel 2",
                List.of(Shard.WHOLE, Shard.WHOLE),
                List.of(half(experts, 0), half(experts, 1))));
    boolean passed = true;
    for (int count : tokens) {
      try (Arena arena = Arena.ofShared()) {
        passed &= bench(new Case(arena, preset, count), spreads);
      }
    }
    return passed ? 0 : 1;
  }

  private static ExpertMap half(int experts, int part) {
    int here = experts / PARTS;
    int[] local = new int[experts];
    Arrays.setAll(local, e -> e / here == part ? e % here : -1);
    return ExpertMap.of(local);
  }

  private boolean bench(Case of, List<Spread> spreads) throws Exception {
    Result whole;
    double wholeNanos;
    try (ShardInstance instance = of.open(Shard.WHOLE, of.allExperts(), devices.getFirst())) {
      of.fill(instance, Shard.WHOLE);
      instance.compute();
      whole = of.result(instance, Shard.WHOLE, of.allExperts());
      wholeNanos = instance.layerNanos();
      System.out.printf(
          "%d tokens on %s: %.1f us%n", of.tokens(), instance.device(), wholeNanos / 1e3);
    }
    Check alone = new Check();
    whole.compare(whole, alone);
    boolean passed = alone.passed();
    System.out.printf("  against float64: worst error / bound %.3f%n", alone.worst());
    for (Spread spread : spreads) {
      List<ShardInstance> parts = new ArrayList<>();
      try {
        for (int i = 0; i < PARTS; i++) {
          parts.add(of.open(spread.shard().get(i), spread.experts().get(i), devices.get(i)));
          of.fill(parts.get(i), spread.shard().get(i));
        }
        Result sum = of.newResult();
        for (int i = 0; i < PARTS; i++) {
          parts.get(i).compute();
          sum.add(of.result(parts.get(i), spread.shard().get(i), spread.experts().get(i)));
        }
        Check check = new Check();
        sum.compare(whole, check);
        passed &= check.passed();
        Times times = time(parts);
        double slower = Math.max(times.layerNanos()[0], times.layerNanos()[1]);
        System.out.printf(
            "  %s: %.1f and %.1f us, slower / one device %.3f; both at once take %.2f x the slower"
                + " alone; worst error / bound %.3f%n",
            spread.name(),
            times.layerNanos()[0] / 1e3,
            times.layerNanos()[1] / 1e3,
            slower / wholeNanos,
            times.together(),
            check.worst());
      } finally {
        parts.forEach(ShardInstance::close);
      }
    }
    return passed;
  }

  /** Times each part alone, then both at once. */
  private Times time(List<ShardInstance> parts) throws Exception {
    double[] layer = new double[PARTS];
    double slowest = 0;
    for (int i = 0; i < PARTS; i++) {
      layer[i] = parts.get(i).layerNanos();
      long start = System.nanoTime();
      parts.get(i).runLayers(runs);
      slowest = Math.max(slowest, (double) (System.nanoTime() - start));
    }
    CyclicBarrier all = new CyclicBarrier(PARTS + 1);
    List<Future<?>> running = new ArrayList<>();
    long start;
    try (ExecutorService threads = Executors.newFixedThreadPool(PARTS)) {
      for (ShardInstance part : parts) {
        running.add(
            threads.submit(
                () -> {
                  all.await();
                  part.runLayers(runs);
                  return null;
                }));
      }
      all.await();
      start = System.nanoTime();
      for (Future<?> each : running) {
        each.get();
      }
    }
    return new Times(layer, (System.nanoTime() - start) / slowest);
  }

  /** One batch size: a batch, its activations and the adapters of the whole model. */
  private final class Case {
    private final Preset preset;
    private final MoeModel model;
    private final Batch batch;
    private final List<LoraAdapter> adapters = new ArrayList<>();
    private final Matrix x;
    private final Matrix middle;

    Case(Arena arena, Preset preset, int tokens) {
      this.preset = preset;
      model = preset.model();
      SplittableRandom random = new SplittableRandom(seed);
      Workload.Sizes sizes = new Workload.Sizes(preset, 1, SLOTS, rank, tokens, type, type);
      RandomAdapters some = new RandomAdapters(arena, random, sizes);
      for (int slot = 0; slot < SLOTS; slot++) {
        adapters.add(some.next("adapter" + slot));
      }
      batch =
          Batch.random(
              random, Batch.sequences(tokens, SLOTS, 0), preset.expertsPerToken(), model.experts());
      x = Bits.random(arena, random, type, tokens, model.hiddenSize());
      middle = Bits.random(arena, random, type, batch.pairs(), model.intermediateSize());
    }

    int tokens() {
      return batch.tokens();
    }

    ExpertMap allExperts() {
      return ExpertMap.identity(model.experts());
    }

    ShardInstance open(Shard shard, ExpertMap experts, String device) {
      MoeLoraConfig config =
          MoeLoraConfig.of(model.shard(shard), SLOTS, preset.expertsPerToken())
              .withMaxTokens(tokens())
              .withMaxRank(rank)
              .withWeightType(type)
              .withExpertMap(experts)
              .withDevice(device);
      return new ShardInstance(config, adapters(shard), batch);
    }

    private List<LoraAdapter> adapters(Shard shard) {
      return adapters.stream().map(each -> each.shard(model, shard)).toList();
    }

    /** Down's x is the shard's share of the columns. */
    private Matrix input(Projection projection, Shard shard) {
      int share = model.intermediateSize() / shard.of();
      return projection == Projection.GATE_UP ? x : middle.columns(shard.index() * share, share);
    }

    void fill(ShardInstance instance, Shard shard) {
      for (Projection projection : Projection.values()) {
        Matrix from = input(projection, shard);
        Matrix to = instance.x(projection);
        for (int i = 0; i < from.rows(); i++) {
          for (int j = 0; j < from.columns(); j++) {
            to.set(i, j, from.get(i, j));
          }
        }
      }
    }

    Result newResult() {
      return new Result(model, sampledPairs().length);
    }

    private int[] sampledTokens() {
      int count = Math.min(tokens(), SAMPLES);
      int[] sampled = new int[count];
      Arrays.setAll(sampled, i -> count == 1 ? 0 : (int) ((long) i * (tokens() - 1) / (count - 1)));
      return sampled;
    }

    private int[] sampledPairs() {
      int perToken = preset.expertsPerToken();
      return Arrays.stream(sampledTokens())
          .flatMap(t -> IntStream.range(t * perToken, (t + 1) * perToken))
          .toArray();
    }

    /**
     * What a part has computed of the sampled tokens, and float64 of it, in the whole's columns.
     */
    Result result(ShardInstance instance, Shard shard, ExpertMap experts) {
      Result result = newResult();
      int perToken = preset.expertsPerToken();
      List<LoraAdapter> mine = adapters(shard);
      int row = 0;
      for (int t : sampledTokens()) {
        int first = t * perToken;
        int[] ids = Arrays.copyOfRange(batch.expertIds(), first, first + perToken);
        Arrays.setAll(ids, k -> experts.local(ids[k]) < 0 ? -1 : ids[k]);
        for (Projection projection : Projection.values()) {
          boolean isDown = projection == Projection.DOWN;
          Matrix in = input(projection, shard).rows(isDown ? first : t, isDown ? perToken : 1);
          Matrix actual = instance.y(projection).rows(first, perToken);
          Reference.Result expected =
              Reference.compute(
                  new Reference.Inputs(
                      model.shard(shard),
                      isDown ? ProjectionCall.down(0) : ProjectionCall.gateUp(0),
                      new ArrayList<>(mine),
                      ids,
                      Arrays.copyOfRange(batch.routingWeights(), first, first + perToken),
                      new int[] {batch.adapterIds()[t]},
                      in,
                      zeros(actual)));
          for (int k = 0; k < perToken; k++) {
            result.set(projection, row + k, shard, actual.rows(k, 1), expected, k);
          }
        }
        row += perToken;
      }
      return result;
    }

    private static Matrix zeros(Matrix like) {
      byte[] bytes = new byte[like.rows() * like.columns() * like.type().bytes()];
      return Matrix.of(MemorySegment.ofArray(bytes), like.type(), like.rows(), like.columns());
    }
  }

  /** Sampled rows of y of both projections: computed, expected of float64, and the bound. */
  private static final class Result {
    private final MoeModel model;
    private final double[][][][] numbers;

    Result(MoeModel model, int rows) {
      this.model = model;
      numbers = new double[Projection.values().length][3][rows][];
      for (Projection projection : Projection.values()) {
        for (double[][] kind : of(projection)) {
          Arrays.setAll(kind, _ -> new double[model.outputWidth(projection)]);
        }
      }
    }

    private double[][][] of(Projection projection) {
      return numbers[projection == Projection.GATE_UP ? 0 : 1];
    }

    /** Enters a row of a shard. */
    void set(
        Projection projection,
        int row,
        Shard shard,
        Matrix actual,
        Reference.Result expected,
        int expectedRow) {
      double[][][] to = of(projection);
      for (int c = 0; c < actual.columns(); c++) {
        int column = column(projection, shard, c);
        to[0][row][column] = actual.get(0, c);
        to[1][row][column] = expected.values()[expectedRow][c];
        to[2][row][column] = expected.bounds()[expectedRow][c];
      }
    }

    /** Of gate and up in halves, a shard has its share of both. */
    private int column(Projection projection, Shard shard, int column) {
      if (projection == Projection.DOWN) {
        return column;
      }
      int share = model.intermediateSize() / shard.of();
      return column / share * model.intermediateSize() + shard.index() * share + column % share;
    }

    /** Adds what another part has: columns that only one has are zero in the other. */
    void add(Result part) {
      for (int p = 0; p < numbers.length; p++) {
        for (int kind = 0; kind < 3; kind++) {
          for (int row = 0; row < numbers[p][kind].length; row++) {
            for (int c = 0; c < numbers[p][kind][row].length; c++) {
              numbers[p][kind][row][c] += part.numbers[p][kind][row][c];
            }
          }
        }
      }
    }

    /** Compares with what one device computed, and both with float64 of the whole model. */
    void compare(Result whole, Check check) {
      for (int p = 0; p < numbers.length; p++) {
        for (int row = 0; row < numbers[p][0].length; row++) {
          for (int c = 0; c < numbers[p][0][row].length; c++) {
            double bound = numbers[p][2][row][c];
            double actual = numbers[p][0][row][c];
            check.element(whole.numbers[p][1][row][c], bound, actual);
            if (whole != this) {
              double both = bound + whole.numbers[p][2][row][c];
              check.element(whole.numbers[p][0][row][c], both, actual);
            }
          }
        }
      }
    }
  }
}
