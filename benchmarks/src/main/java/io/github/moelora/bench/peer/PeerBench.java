package io.github.moelora.bench.peer;

import com.fasterxml.jackson.databind.JsonNode;
import io.github.moelora.DType;
import io.github.moelora.bench.LayerSteps;
import io.github.moelora.bench.Timing;
import io.github.moelora.cli.Options;
import io.github.moelora.cli.Output;
import io.github.moelora.workload.Preset;
import io.github.moelora.workload.Workload;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

/**
 * What one adapter on all experts of a layer costs on the CPU, beside llama.cpp: for us a step of a
 * layer (plan, gate and up, down), for llama.cpp a batch with the adapter less one without, by
 * layer. It is lost in noise if the lower quartile of that difference is not positive. Shape:
 * Qwen3-30B-A3B, weights of F16, x and y of F32, the same threads. Command: {@code
 * scripts/bench-cpu-peer FOLDER}.
 */
@Command(
    name = "bench-cpu-peer",
    mixinStandardHelpOptions = true,
    showDefaultValues = true,
    description = {
      "What an adapter on MoE experts costs on the CPU, beside llama.cpp.",
      "The exit code is 1 if what it costs llama.cpp is lost in noise: take a quiet machine."
    })
final class PeerBench implements Callable<Integer> {
  private static final String PRESET = "qwen3-30b-a3b";
  private static final long NANOS = 1_000_000_000;

  @Parameters(paramLabel = "FOLDER", description = "Folder of llama.cpp's shared libraries.")
  private Path peer = Path.of("");

  @Option(names = "--ranks", split = ",", paramLabel = "R", description = "Ranks.")
  private List<Integer> ranks = List.of(16, 64);

  @Option(names = "--tokens", split = ",", paramLabel = "T", description = "Batch sizes.")
  private List<Integer> tokens = List.of(1, 8, 64, 512);

  @Option(names = "--threads", paramLabel = "N", description = "Threads of both.")
  private int threads = Runtime.getRuntime().availableProcessors();

  @Option(
      names = "--files",
      paramLabel = "FOLDER",
      description = "Keeps the model and the adapters there, to be found by the next run.")
  private @Nullable Path files;

  @Option(names = "--json", paramLabel = "FILE", description = "JSON file to write.")
  private @Nullable Path json;

  /**
   * A line of the table.
   *
   * @param micros of our step of a layer
   * @param peerMicros what the adapter costs llama.cpp in a layer; quartiles over the turns
   */
  record Cell(int rank, int tokens, Timing.Quartiles micros, Timing.Quartiles peerMicros) {
    /** Whether a quarter of the turns say that the adapter costs llama.cpp nothing. */
    boolean lostInNoise() {
      return !(peerMicros.low() > 0);
    }

    /** Ours over theirs, medians. */
    double ratio() {
      return micros.median() / peerMicros.median();
    }
  }

  /** Runs the command and ends the JVM. */
  public static void main(String[] args) {
    CommandLine line = new CommandLine(new PeerBench());
    line.setExecutionExceptionHandler(
        (exception, _, _) -> {
          System.err.println("bench-cpu-peer: " + exception.getMessage());
          return 1;
        });
    System.exit(line.execute(args));
  }

  @Override
  public Integer call() throws Exception {
    Options.requireAtLeastOne("--ranks", ranks);
    Options.requireAtLeastOne("--tokens", tokens);
    Options.requireAtLeastOne("--threads", threads);
    if (!Files.isDirectory(peer)) {
      throw new IllegalArgumentException("FOLDER must be a folder, got " + peer);
    }
    // what the backend reads when it opens
    System.setProperty("moelora.cpu.threads", Integer.toString(threads));
    Path folder =
        files == null
            ? Files.createTempDirectory("bench-cpu-peer")
            : Files.createDirectories(files);
    try {
      Map<String, Timing.Quartiles> theirs = measurePeer(folder);
      List<Cell> cells = new ArrayList<>();
      for (int rank : ranks) {
        for (int count : tokens) {
          Timing.Quartiles cost = theirs.get(adapterName(rank) + count);
          if (cost == null) {
            throw new IOException("bench-llama.py gave no cost of rank " + rank);
          }
          cells.add(new Cell(rank, count, micros(rank, count), cost.over(PeerFiles.LAYERS)));
        }
      }
      System.out.print(table(cells));
      if (json != null) {
        Output.writeJson(json, Map.of("threads", threads, "preset", PRESET, "cells", cells));
      }
      return cells.stream().anyMatch(Cell::lostInNoise) ? 1 : 0;
    } finally {
      if (files == null) {
        for (String name : names()) {
          Files.deleteIfExists(folder.resolve(name));
        }
        Files.deleteIfExists(folder);
      }
    }
  }

  private List<String> names() {
    List<String> names = new ArrayList<>(List.of("model.gguf"));
    ranks.forEach(rank -> names.add(adapterName(rank)));
    return names;
  }

  private static String adapterName(int rank) {
    return "rank%d.gguf".formatted(rank);
  }

  /** Microseconds that adapters cost llama.cpp's batches, by the adapter's name and the tokens. */
  private Map<String, Timing.Quartiles> measurePeer(Path folder)
      throws IOException, InterruptedException {
    PeerFiles made = new PeerFiles(Preset.of(PRESET));
    if (!Files.exists(folder.resolve("model.gguf"))) {
      made.writeModel(folder.resolve("model.gguf"));
    }
    List<String> command = new ArrayList<>();
    command.add(System.getenv().getOrDefault("PYTHON", "python3"));
    command.add(
        Path.of(System.getProperty("moelora.bench.scripts", "scripts"), "bench-llama.py")
            .toString());
    command.addAll(List.of(peer.toString(), folder.resolve("model.gguf").toString()));
    command.add("--adapters");
    for (int rank : ranks) {
      Path adapter = folder.resolve(adapterName(rank));
      if (!Files.exists(adapter)) {
        made.writeAdapter(adapter, rank);
      }
      command.add(adapter.toString());
    }
    command.add("--tokens");
    tokens.forEach(count -> command.add(count.toString()));
    command.addAll(List.of("--threads", Integer.toString(threads)));
    Process process =
        new ProcessBuilder(command).redirectError(ProcessBuilder.Redirect.INHERIT).start();
    Map<String, Timing.Quartiles> costs = new HashMap<>();
    try (BufferedReader lines =
        new BufferedReader(
            new InputStreamReader(process.getInputStream(), StandardCharsets.UTF_8))) {
      for (String line = lines.readLine(); line != null; line = lines.readLine()) {
        System.err.println("llama.cpp: " + line);
        JsonNode node = Output.json().readTree(line);
        JsonNode cost = node.path("cost");
        if (cost.size() == 3) {
          costs.put(
              node.path("adapter").asText() + node.path("tokens").asInt(),
              new Timing.Quartiles(
                  cost.get(0).asDouble(), cost.get(1).asDouble(), cost.get(2).asDouble()));
        }
      }
    } finally {
      process.destroy();
    }
    int code = process.waitFor();
    if (code != 0) {
      throw new IOException("bench-llama.py ended with code " + code);
    }
    return costs;
  }

  private static Timing.Quartiles micros(int rank, int tokens) {
    Workload.Sizes sizes =
        new Workload.Sizes(
            Preset.of(PRESET), PeerFiles.LAYERS, 1, rank, tokens, DType.F16, DType.F32);
    try (LayerSteps steps = new LayerSteps(sizes, 1, "cpu")) {
      Timing.warmUp(steps::run, 3 * NANOS);
      return Timing.quartileNanos(steps::run, NANOS).over(1e3);
    }
  }

  static String table(List<Cell> cells) {
    StringBuilder text =
        new StringBuilder(
            Output.format(
                "%4s %6s %20s %24s %6s%n",
                "rank", "tokens", "ours us (quartiles)", "llama.cpp us (quartiles)", "ratio"));
    for (Cell cell : cells) {
      text.append(
          Output.format(
              "%4d %6d %20s %24s %6s%n",
              cell.rank(),
              cell.tokens(),
              text(cell.micros()),
              text(cell.peerMicros()),
              cell.lostInNoise() ? "noise" : Output.format("%.2f", cell.ratio())));
    }
    return text.toString();
  }

  private static String text(Timing.Quartiles micros) {
    return Output.format("%.0f (%.0f to %.0f)", micros.median(), micros.low(), micros.high());
  }
}
