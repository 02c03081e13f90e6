package io.github.moelora.cli;

import io.github.moelora.DType;
import io.github.moelora.GateUp;
import io.github.moelora.LoraAdapter;
import io.github.moelora.LoraSlice;
import io.github.moelora.Matrix;
import io.github.moelora.MoeLora;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.MoeModel;
import io.github.moelora.Projection;
import io.github.moelora.ProjectionCall;
import io.github.moelora.Step;
import io.github.moelora.reference.Reference;
import java.io.IOException;
import java.io.PrintWriter;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;

/** {@code moe-lora bench}: time against tokens, rank and model shape. */
@Command(
    name = "bench",
    mixinStandardHelpOptions = true,
    description = {
      "Times both projections of one MoE layer over tokens, ranks and model shapes, with random"
          + " adapters.",
      "One token of each cell is checked against the reference before the cell is timed."
    })
final class BenchCommand implements Callable<Integer> {
  /** Elements of the random memory that all weights are views of. */
  private static final int RANDOM_ELEMENTS = 1 << 22;

  private static final long NANOS_PER_CELL = 300_000_000L;
  private static final int MOST_RUNS = 200;

  @CommandLine.Spec
  private CommandLine.Model.CommandSpec spec = CommandLine.Model.CommandSpec.create();

  @Option(
      names = "--preset",
      split = ",",
      paramLabel = "NAME",
      description =
          "Shapes: qwen3-30b-a3b, mixtral-8x7b, deepseek-v3, gpt-oss-20b, olmoe (default"
              + " ${DEFAULT-VALUE}).")
  private List<String> presets = List.of("qwen3-30b-a3b");

  @Option(
      names = "--tokens",
      split = ",",
      paramLabel = "T",
      description = "Batch sizes (default ${DEFAULT-VALUE}).")
  private List<Integer> tokens = List.of(1, 8, 64, 512);

  @Option(
      names = "--ranks",
      split = ",",
      paramLabel = "R",
      description = "Ranks (default ${DEFAULT-VALUE}).")
  private List<Integer> ranks = List.of(16, 64);

  @Option(
      names = "--adapters",
      paramLabel = "L",
      description = "Adapters of a batch (default ${DEFAULT-VALUE}).")
  private int adapters = 2;

  @Option(
      names = "--weights",
      paramLabel = "TYPE",
      description = "Type of weights (default ${DEFAULT-VALUE}).")
  private DType weightType = DType.BF16;

  @Option(
      names = "--activations",
      paramLabel = "TYPE",
      description = "Type of x and y (default ${DEFAULT-VALUE}).")
  private DType activationType = DType.BF16;

  @Option(
      names = "--backend",
      paramLabel = "NAME",
      description = "Backend; by default the best usable one.")
  private @Nullable String backend;

  @Option(
      names = "--memory",
      paramLabel = "GIB",
      description =
          "Weights that a cell may take; larger cells are left out (default ${DEFAULT-VALUE}).")
  private double memoryGib = 4;

  @Option(
      names = "--bandwidth",
      paramLabel = "GB/S",
      description = "Memory bandwidth for the floor; by default this machine's, measured first.")
  private double bandwidth;

  @Option(names = "--seed", paramLabel = "N", description = "Seed (default ${DEFAULT-VALUE}).")
  private long seed = 1;

  @Option(names = "--json", paramLabel = "FILE", description = "Write the results as JSON.")
  private @Nullable Path json;

  @Option(names = "--plot", paramLabel = "FILE", description = "Draw time against tokens as PNG.")
  private @Nullable Path plot;

  /** Result of one cell. */
  record Cell(
      String preset,
      String projection,
      int rank,
      int tokens,
      double micros,
      double floorMicros,
      double gigabytesPerSecond,
      double worst) {}

  @Override
  public Integer call() throws IOException {
    PrintWriter out = spec.commandLine().getOut();
    PrintWriter err = spec.commandLine().getErr();
    requirePositive("--tokens", tokens);
    requirePositive("--ranks", ranks);
    requirePositive("--adapters", List.of(adapters));
    double bytesPerSecond = bandwidth > 0 ? bandwidth * 1e9 : ReadBandwidth.measure();
    List<Preset> shapes = presets.stream().map(Preset::of).toList();
    List<Cell> cells = new ArrayList<>();
    Progress progress = new Progress(err, shapes.size() * ranks.size() * tokens.size());
    String device = "";
    for (Preset preset : shapes) {
      for (int rank : ranks) {
        long bytes = weightBytes(preset.model(), rank) * adapters;
        if (bytes > memoryGib * (1L << 30)) {
          progress.clear();
          out.printf(
              "%s rank %d left out: %s of weights, --memory allows %s GiB%n",
              preset.text(), rank, Output.bytes((double) bytes), Output.number(memoryGib));
          progress.advance(tokens.size());
          continue;
        }
        device = bench(preset, rank, bytesPerSecond, cells, progress);
      }
    }
    progress.clear();
    out.printf("%s; floor at %.1f GB/s%n", device, bytesPerSecond / 1e9);
    TextTable table =
        new TextTable(
            "shape",
            "projection",
            "rank",
            "tokens",
            "time us",
            "floor us",
            "time / floor",
            "GB/s",
            "worst error / bound");
    for (Cell cell : cells) {
      table.row(
          cell.preset(),
          cell.projection(),
          cell.rank(),
          cell.tokens(),
          Output.number(cell.micros()),
          Output.number(cell.floorMicros()),
          Output.number(cell.micros() / cell.floorMicros()),
          Output.number(cell.gigabytesPerSecond()),
          Output.format("%.3f", cell.worst()));
    }
    table.print(out);
    boolean passed = cells.stream().allMatch(cell -> cell.worst() <= 1);
    if (!passed) {
      out.println("FAIL: an element is outside its bound");
    }
    out.flush();
    if (json != null) {
      Map<String, Object> document = new LinkedHashMap<>();
      document.put("device", device);
      document.put("bytes_per_second", bytesPerSecond);
      document.put("weights", weightType);
      document.put("activations", activationType);
      document.put("adapters", adapters);
      document.put("seed", seed);
      document.put("cells", cells);
      Output.writeJson(json, document);
    }
    if (plot != null) {
      TimePlot.write(plot, cells, device);
    }
    return passed ? 0 : MoeLoraCli.CHECK_FAILED;
  }

  private static void requirePositive(String name, List<Integer> values) {
    for (int value : values) {
      if (value < 1) {
        throw new IllegalArgumentException("%s must be at least 1, got %d".formatted(name, value));
      }
    }
  }

  private long weightBytes(MoeModel model, int rank) {
    long gateUp = (long) slices(model) * model.hiddenSize() + model.outputWidth(Projection.GATE_UP);
    long down = (long) model.intermediateSize() + model.hiddenSize();
    return (long) model.experts() * rank * (gateUp + down) * weightType.bytes();
  }

  private static int slices(MoeModel model) {
    return model.gateUp() == GateUp.HALVES ? 2 : 1;
  }

  private String bench(
      Preset preset, int rank, double bytesPerSecond, List<Cell> cells, Progress progress) {
    MoeModel model = preset.model();
    int most = tokens.stream().mapToInt(Integer::intValue).max().orElse(1);
    MoeLoraConfig config =
        MoeLoraConfig.of(model, adapters, preset.expertsPerToken())
            .withMaxTokens(most)
            .withMaxRank(rank)
            .withWeightType(weightType);
    Random random = new Random(seed);
    try (Arena arena = Arena.ofShared();
        MoeLora lora = backend == null ? MoeLora.open(config) : MoeLora.open(config, backend);
        Step step = lora.newStep()) {
      Matrix pool = Bits.random(arena, random, weightType, 1, RANDOM_ELEMENTS);
      List<@Nullable LoraAdapter> loaded = new ArrayList<>();
      for (int slot = 0; slot < adapters; slot++) {
        LoraAdapter adapter = adapter(model, rank, pool, random);
        lora.load(slot, adapter);
        loaded.add(adapter);
      }
      for (int batch : tokens) {
        progress.show("%s, rank %d, %d tokens".formatted(preset.text(), rank, batch));
        Batch routed =
            Batch.random(random, batch, preset.expertsPerToken(), model.experts(), adapters);
        step.plan(
            batch,
            MemorySegment.ofArray(routed.expertIds()),
            MemorySegment.ofArray(routed.routingWeights()),
            MemorySegment.ofArray(routed.adapterIds()));
        for (ProjectionCall call : List.of(ProjectionCall.gateUp(0), ProjectionCall.down(0))) {
          try (Arena cellArena = Arena.ofShared()) {
            cells.add(
                cell(preset, rank, call, routed, loaded, step, bytesPerSecond, random, cellArena));
          }
        }
        progress.advance(1);
      }
      return "backend %s on %s".formatted(lora.backendName(), lora.device());
    }
  }

  private static LoraAdapter adapter(MoeModel model, int rank, Matrix pool, Random random) {
    LoraAdapter.Builder builder = LoraAdapter.builder("random");
    for (int e = 0; e < model.experts(); e++) {
      for (Projection projection : Projection.values()) {
        int count = projection == Projection.GATE_UP ? slices(model) : 1;
        int width = model.outputWidth(projection) / count;
        for (int s = 0; s < count; s++) {
          Matrix a = view(pool, random, rank, model.inputWidth(projection));
          Matrix b = view(pool, random, width, rank);
          builder.add(0, projection, e, new LoraSlice(s * width, a, b, 1f / rank));
        }
      }
    }
    return builder.build();
  }

  private static Matrix view(Matrix pool, Random random, int rows, int columns) {
    int offset = random.nextInt(pool.columns() - rows * columns);
    return new Matrix(pool.data(), pool.type(), rows, columns, offset, columns, 1);
  }

  private Cell cell(
      Preset preset,
      int rank,
      ProjectionCall call,
      Batch batch,
      List<@Nullable LoraAdapter> loaded,
      Step step,
      double bytesPerSecond,
      Random random,
      Arena arena) {
    MoeModel model = preset.model();
    int pairs = batch.expertIds().length;
    int inputWidth = model.inputWidth(call.projection());
    int outputWidth = model.outputWidth(call.projection());
    Matrix x =
        Bits.random(
            arena,
            random,
            activationType,
            call.pairRows() ? pairs : batch.adapterIds().length,
            inputWidth);
    Matrix y = Bits.random(arena, random, activationType, pairs, outputWidth);
    double worst = check(model, call, batch, loaded, step, x, y, arena);
    double nanos = time(step, call, x, y);
    double floor = moved(model, rank, call, batch, x, y) / bytesPerSecond * 1e9;
    return new Cell(
        preset.text(),
        call.projection() == Projection.GATE_UP ? "gate/up" : "down",
        rank,
        batch.adapterIds().length,
        nanos / 1e3,
        floor / 1e3,
        moved(model, rank, call, batch, x, y) / nanos,
        worst);
  }

  /** Compares the pairs of one token, since the reference of a whole large batch takes minutes. */
  private static double check(
      MoeModel model,
      ProjectionCall call,
      Batch batch,
      List<@Nullable LoraAdapter> loaded,
      Step step,
      Matrix x,
      Matrix y,
      Arena arena) {
    int expertsPerToken = batch.expertIds().length / batch.adapterIds().length;
    int t = batch.adapterIds().length / 2;
    int p = t * expertsPerToken;
    Matrix before = Bits.copy(arena, y.rows(p, expertsPerToken));
    step.run(call, x, y);
    Check check = new Check();
    check.compare(
        Reference.compute(
            new Reference.Inputs(
                model,
                call,
                loaded,
                Arrays.copyOfRange(batch.expertIds(), p, p + expertsPerToken),
                Arrays.copyOfRange(batch.routingWeights(), p, p + expertsPerToken),
                new int[] {batch.adapterIds()[t]},
                call.pairRows() ? x.rows(p, expertsPerToken) : x.rows(t, 1),
                before)),
        y.rows(p, expertsPerToken));
    return check.worst();
  }

  private static double time(Step step, ProjectionCall call, Matrix x, Matrix y) {
    long[] nanos = new long[MOST_RUNS];
    int runs = 0;
    // the first half of the time warms up
    for (int half = 0; half < 2; half++) {
      long end = System.nanoTime() + NANOS_PER_CELL / 2;
      runs = 0;
      do {
        long begin = System.nanoTime();
        step.run(call, x, y);
        nanos[runs++] = System.nanoTime() - begin;
      } while (runs < MOST_RUNS && System.nanoTime() < end);
    }
    Arrays.sort(nanos, 0, runs);
    return nanos[runs / 2];
  }

  private double moved(
      MoeModel model, int rank, ProjectionCall call, Batch batch, Matrix x, Matrix y) {
    int count = call.projection() == Projection.GATE_UP ? slices(model) : 1;
    long perExpert =
        (long) rank
            * (count * model.inputWidth(call.projection()) + model.outputWidth(call.projection()));
    long activations = (long) x.rows() * x.columns() + 2L * y.rows() * y.columns();
    return (double) batch.distinctExperts() * perExpert * weightType.bytes()
        + (double) activations * activationType.bytes();
  }
}
