package io.github.moelora.cli;

import io.github.moelora.Backends;
import io.github.moelora.DType;
import io.github.moelora.GateUp;
import io.github.moelora.MoeModel;
import io.github.moelora.spi.Tunable;
import io.github.moelora.spi.Tuner;
import io.github.moelora.workload.Batch;
import io.github.moelora.workload.Preset;
import io.github.moelora.workload.RandomAdapters;
import io.github.moelora.workload.Workload;
import java.io.IOException;
import java.io.PrintWriter;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.SequencedSet;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;

/** {@code moe-lora tune}: measures the choices of a backend and writes them to a file. */
@Command(
    name = "tune",
    mixinStandardHelpOptions = true,
    description = {
      "Measures how a device computes batches of a model's shape fastest, and writes it to a file"
          + " that the backend can read.",
      "Batches of 1, 2, 4, ... tokens are routed at random, and every choice is timed on each."
    })
final class TuneCommand implements Callable<Integer> {
  @CommandLine.Spec
  private CommandLine.Model.CommandSpec spec = CommandLine.Model.CommandSpec.create();

  @Option(
      names = "--preset",
      paramLabel = "NAME",
      description =
          "Shape: qwen3-30b-a3b, mixtral-8x7b, deepseek-v3, gpt-oss-20b or olmoe (default"
              + " ${DEFAULT-VALUE}).")
  private String preset = "qwen3-30b-a3b";

  @Option(
      names = "--shape",
      split = ",",
      paramLabel = "N",
      description =
          "Another shape: hidden size, intermediate size, experts, experts per token, as in"
              + " 2048,768,128,8.")
  private @Nullable List<Integer> shape;

  @Option(
      names = "--gate-up",
      paramLabel = "KIND",
      description =
          "First projection of --shape: ${COMPLETION-CANDIDATES} (default ${DEFAULT-VALUE}).")
  private GateUp gateUp = GateUp.HALVES;

  @Option(
      names = "--rank",
      paramLabel = "R",
      description = "Rank of the adapters, and the largest one (default ${DEFAULT-VALUE}).")
  private int rank = 64;

  @Option(
      names = "--adapters",
      split = ",",
      paramLabel = "L",
      description = "Adapters of a batch, each number in turn (default ${DEFAULT-VALUE}).")
  private List<Integer> adapters = List.of(1, 4);

  @Option(
      names = "--max-tokens",
      paramLabel = "T",
      description =
          "Largest batch to measure; larger ones get the built-in choice (default"
              + " ${DEFAULT-VALUE}).")
  private int maxTokens = 1024;

  @Option(
      names = "--weights",
      paramLabel = "TYPE",
      description = "Type of weights: ${COMPLETION-CANDIDATES} (default ${DEFAULT-VALUE}).")
  private DType weightType = DType.BF16;

  @CommandLine.Mixin private PlaceOptions placeOptions = new PlaceOptions();

  @Option(names = "--seed", paramLabel = "N", description = "Seed (default ${DEFAULT-VALUE}).")
  private long seed = 1;

  @Option(
      names = "--out",
      paramLabel = "FILE",
      required = true,
      description = "The file to write, JSON.")
  private Path out = Path.of("tuning.json");

  @Option(names = "--json", paramLabel = "FILE", description = "Write all times as JSON, too.")
  private @Nullable Path json;

  /**
   * Times of one batch.
   *
   * @param adapters that its tokens use
   */
  record Row(int adapters, int tokens, Tuner.Measurement measurement) {}

  @Override
  public Integer call() throws IOException {
    requireOptions();
    Workload.Sizes sizes =
        new Workload.Sizes(
            preset(),
            1,
            adapters.stream().mapToInt(Integer::intValue).max().orElse(1),
            rank,
            maxTokens,
            weightType,
            weightType);
    Workload.Place place = placeOptions.place();
    Tunable tunable = place.backend() == null ? best() : named(place.backend());
    SequencedSet<Integer> ladder = new LinkedHashSet<>();
    for (long t = 1; t < maxTokens; t *= 2) {
      ladder.add((int) t);
    }
    ladder.add(maxTokens);
    Progress progress = new Progress(spec.commandLine(), ladder.size() * adapters.size());
    progress.show("loading adapters");
    PrintWriter print = spec.commandLine().getOut();
    try (Arena arena = Arena.ofShared();
        Tuner tuner = tunable.newTuner(sizes.config().withDevice(place.device()))) {
      Random random = new Random(seed);
      RandomAdapters randomAdapters = new RandomAdapters(arena, random, sizes);
      for (int slot = 0; slot < sizes.adapters(); slot++) {
        tuner.load(slot, randomAdapters.next("random-" + slot));
      }
      List<Row> rows = new ArrayList<>();
      for (int tokens : ladder) {
        for (int count : adapters) {
          progress.show("%d tokens, adapters: %d".formatted(tokens, count));
          Batch batch =
              Batch.random(
                  random,
                  tokens,
                  sizes.preset().expertsPerToken(),
                  sizes.preset().model().experts(),
                  count);
          rows.add(new Row(count, tokens, measure(tuner, batch)));
          progress.advance(1);
        }
      }
      progress.clear();
      tuner.write(out);
      print.println(tuner.device());
      print(rows, print);
      print.printf(
          "wrote %s; the backend reads it with %s%n", out, tuner.usage(out.toAbsolutePath()));
      print.flush();
      writeJson(tuner.device(), rows);
    }
    return 0;
  }

  private void writeJson(String device, List<Row> rows) throws IOException {
    if (json == null) {
      return;
    }
    Map<String, Object> document = new LinkedHashMap<>();
    document.put("device", device);
    document.put("rank", rank);
    document.put("weights", weightType);
    document.put("seed", seed);
    document.put("batches", rows);
    Output.writeJson(json, document);
  }

  private static Tuner.Measurement measure(Tuner tuner, Batch batch) {
    return tuner.measure(
        batch.tokens(),
        MemorySegment.ofArray(batch.expertIds()),
        MemorySegment.ofArray(batch.routingWeights()),
        MemorySegment.ofArray(batch.adapterIds()));
  }

  private static void print(List<Row> rows, PrintWriter print) {
    TextTable table =
        new TextTable(
            "adapters", "tokens", "pairs", "groups", "built in", "us", "fastest", "us", "times");
    for (Row row : rows) {
      Tuner.Measurement measurement = row.measurement();
      Tuner.Choice fastest = measurement.choices().getFirst();
      Tuner.Choice builtIn = fastest;
      List<String> times = new ArrayList<>();
      for (Tuner.Choice choice : measurement.choices()) {
        fastest = choice.nanos() < fastest.nanos() ? choice : fastest;
        builtIn = choice.builtIn() ? choice : builtIn;
        times.add(choice.name() + ": " + micros(choice));
      }
      table.row(
          row.adapters(),
          row.tokens(),
          measurement.activePairs(),
          measurement.groups(),
          builtIn.name(),
          micros(builtIn),
          fastest.name(),
          micros(fastest),
          String.join(", ", times));
    }
    table.print(print);
  }

  private static String micros(Tuner.Choice choice) {
    return Output.number(choice.nanos() / 1e3);
  }

  private Preset preset() {
    if (shape == null) {
      return Preset.of(preset);
    }
    if (shape.size() != 4) {
      throw new IllegalArgumentException("--shape must be 4 numbers, got " + shape);
    }
    return new Preset(
        "shape",
        new MoeModel(shape.get(0), shape.get(1), shape.get(2), gateUp, List.of(0)),
        shape.get(3));
  }

  private void requireOptions() {
    Options.requireRank("--rank", rank);
    Options.requireAtLeastOne("--adapters", adapters);
    Options.requireAtLeastOne("--max-tokens", maxTokens);
    placeOptions.requireKnown();
    Output.requireWritable("--out", out);
    Output.requireWritable("--json", json);
  }

  private static Tunable named(String name) {
    if (Backends.named(name) instanceof Tunable tunable) {
      return tunable;
    }
    throw new IllegalArgumentException(
        "backend %s has nothing to tune: it makes no choice by device and shape".formatted(name));
  }

  private static Tunable best() {
    try {
      return (Tunable) Backends.best(Tunable.class::isInstance);
    } catch (IllegalStateException e) {
      throw new IllegalStateException(
          "no backend here has anything to tune; on TornadoVM, start with scripts/tornado-run (%s)"
              .formatted(e.getMessage()),
          e);
    }
  }
}
