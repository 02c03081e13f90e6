package io.github.moelora.cli;

import io.github.moelora.DType;
import io.github.moelora.Matrix;
import io.github.moelora.Projection;
import io.github.moelora.ProjectionCall;
import io.github.moelora.bench.Ceilings;
import io.github.moelora.bench.Timing;
import io.github.moelora.workload.Batch;
import io.github.moelora.workload.Preset;
import io.github.moelora.workload.Workload;
import java.io.IOException;
import java.io.PrintWriter;
import java.lang.foreign.Arena;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
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
  private static final int BANDWIDTH_ROUNDS = 5;

  /** Times the seconds of a cell: until the compiler has seen to the kernels. */
  private static final int FIRST_WARM_UP = 7;

  @CommandLine.Spec
  private CommandLine.Model.CommandSpec spec = CommandLine.Model.CommandSpec.create();

  @Option(
      names = "--preset",
      split = ",",
      paramLabel = "NAME",
      description =
          "Shapes: qwen3-30b-a3b, mixtral-8x7b, deepseek-v3, gpt-oss-20b, olmoe, or all (default"
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
      description = "Type of weights: ${COMPLETION-CANDIDATES} (default ${DEFAULT-VALUE}).")
  private DType weightType = DType.BF16;

  @Option(
      names = "--activations",
      paramLabel = "TYPE",
      description = "Type of x and y: ${COMPLETION-CANDIDATES} (default ${DEFAULT-VALUE}).")
  private DType activationType = DType.BF16;

  @CommandLine.Mixin private PlaceOptions placeOptions = new PlaceOptions();

  @Option(
      names = "--memory",
      paramLabel = "GIB",
      description =
          "Weights that a shape may take; larger ones are left out (default ${DEFAULT-VALUE}).")
  private double memoryGib = 4;

  @Option(
      names = "--bandwidth",
      paramLabel = "GB/S",
      description = "Memory bandwidth for the floor; by default this machine's, measured first.")
  private double bandwidth;

  @Option(
      names = "--seconds",
      paramLabel = "S",
      description = "How long to time each cell (default ${DEFAULT-VALUE}).")
  private double seconds = 0.3;

  @Option(names = "--seed", paramLabel = "N", description = "Seed (default ${DEFAULT-VALUE}).")
  private long seed = 1;

  @Option(names = "--json", paramLabel = "FILE", description = "Write the results as JSON.")
  private @Nullable Path json;

  @Option(names = "--plot", paramLabel = "FILE", description = "Draw time against tokens as PNG.")
  private @Nullable Path plot;

  /**
   * Result of one cell.
   *
   * @param preset shape
   * @param projection gate/up or down
   * @param micros median time
   * @param floorMicros time that moving the bytes takes at the memory bandwidth
   * @param gigabytesPerSecond the bytes over the median time
   * @param worst worst error of the checked token over its bound
   */
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
    requireOptions();
    List<Preset> shapes =
        presets.contains("all")
            ? Preset.names().stream().map(Preset::of).toList()
            : presets.stream().distinct().map(Preset::of).toList();
    List<Cell> cells = new ArrayList<>();
    Progress progress =
        new Progress(spec.commandLine(), shapes.size() * ranks.size() * tokens.size());
    if (bandwidth == 0) {
      progress.show("measuring the memory bandwidth");
    }
    double bytesPerSecond =
        bandwidth > 0 ? bandwidth * 1e9 : Ceilings.bestReadBytesPerSecond(BANDWIDTH_ROUNDS);
    String opened = "";
    for (Preset preset : shapes) {
      for (int rank : ranks) {
        Workload.Sizes sizes = sizes(preset, rank);
        if (sizes.weightBytes() > memoryGib * (1L << 30)) {
          progress.clear();
          out.printf(
              "%s rank %d left out: %s of weights, --memory allows %s GiB%n",
              preset.text(),
              rank,
              Output.bytes((double) sizes.weightBytes()),
              Output.number(memoryGib));
          progress.advance(tokens.size());
          continue;
        }
        progress.show("%s, rank %d, loading adapters".formatted(preset.text(), rank));
        try (Workload workload = Workload.open(sizes, placeOptions.place(), seed)) {
          opened = workload.backend();
          bench(workload, sizes, bytesPerSecond, cells, progress);
        }
      }
    }
    progress.clear();
    if (cells.isEmpty()) {
      throw new IllegalArgumentException(
          "--memory must allow at least one cell, got %s GiB".formatted(Output.number(memoryGib)));
    }
    print(opened, bytesPerSecond, cells, out);
    boolean passed = cells.stream().allMatch(cell -> cell.worst() <= 1);
    if (!passed) {
      out.println("FAIL: an element is outside its bound");
    }
    out.flush();
    write(opened, bytesPerSecond, passed, cells);
    return passed ? 0 : MoeLoraCli.CHECK_FAILED;
  }

  /** Writes the files that the options ask for. */
  private void write(String device, double bytesPerSecond, boolean passed, List<Cell> cells)
      throws IOException {
    if (json != null) {
      Map<String, Object> document = new LinkedHashMap<>();
      document.put("device", device);
      document.put("bytes_per_second", bytesPerSecond);
      document.put("weights", weightType);
      document.put("activations", activationType);
      document.put("adapters", adapters);
      document.put("seed", seed);
      document.put("passed", passed);
      document.put("cells", cells);
      Output.writeJson(json, document);
    }
    if (plot != null) {
      TimePlot.write(plot, cells, device);
    }
  }

  private void requireOptions() {
    Options.requireAtLeastOne("--tokens", tokens);
    ranks.forEach(rank -> Options.requireRank("--ranks", rank));
    Options.requireAtLeastOne("--adapters", adapters);
    if (!(memoryGib > 0)) {
      throw new IllegalArgumentException("--memory must be more than 0, got " + memoryGib);
    }
    if (!(seconds > 0 && seconds <= 3600)) {
      throw new IllegalArgumentException("--seconds must be in (0, 3600], got " + seconds);
    }
    if (!(bandwidth >= 0 && bandwidth < Double.POSITIVE_INFINITY)) {
      throw new IllegalArgumentException(
          "--bandwidth must be finite and not negative, got " + bandwidth);
    }
    placeOptions.requireKnown();
    Output.requireWritable("--json", json);
    Output.requireWritable("--plot", plot);
  }

  private Workload.Sizes sizes(Preset preset, int rank) {
    int most = tokens.stream().mapToInt(Integer::intValue).max().orElse(1);
    return new Workload.Sizes(preset, 1, adapters, rank, most, weightType, activationType);
  }

  private void bench(
      Workload workload,
      Workload.Sizes sizes,
      double bytesPerSecond,
      List<Cell> cells,
      Progress progress) {
    for (int batchTokens : tokens) {
      progress.show(
          "%s, rank %d, %d tokens".formatted(sizes.preset().text(), sizes.rank(), batchTokens));
      Batch batch = workload.batch(batchTokens);
      long nanosPerCell = (long) (seconds * 1e9);
      for (ProjectionCall call : List.of(ProjectionCall.gateUp(0), ProjectionCall.down(0))) {
        try (Arena arena = Arena.ofShared()) {
          Matrix x = workload.x(arena, call, batch);
          Matrix y = workload.y(arena, call, batch);
          double worst = workload.check(call, batch, x, y);
          Runnable action = () -> workload.run(call, x, y);
          Timing.warmUp(
              action, cells.size() < Projection.values().length ? FIRST_WARM_UP * nanosPerCell : 0);
          double nanos = Timing.medianNanos(action, nanosPerCell);
          double bytes = sizes.movedBytes(call, batch);
          cells.add(
              new Cell(
                  sizes.preset().text(),
                  Output.name(call.projection()),
                  sizes.rank(),
                  batchTokens,
                  nanos / 1e3,
                  bytes / bytesPerSecond * 1e6,
                  bytes / nanos,
                  worst));
        }
      }
      progress.advance(1);
    }
  }

  private static void print(
      String device, double bytesPerSecond, List<Cell> cells, PrintWriter out) {
    out.printf("%s; floor at %s GB/s%n", device, Output.number(bytesPerSecond / 1e9));
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
  }
}
