package io.github.moelora.bench.gpu;

import com.fasterxml.jackson.annotation.JsonIgnoreProperties;
import com.fasterxml.jackson.annotation.JsonProperty;
import com.fasterxml.jackson.databind.JsonNode;
import io.github.moelora.cli.Output;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * What {@link BenchGpu} measured, as its JSON file holds it.
 *
 * @param command the arguments
 * @param started time in UTC
 * @param device name and memory
 * @param tornado version of TornadoVM
 * @param java version of the JVM
 * @param seed of all random numbers
 * @param ceilings what floors count with
 * @param cells in the order of measurement
 */
@JsonIgnoreProperties(ignoreUnknown = true)
record BenchReport(
    List<String> command,
    String started,
    String device,
    String tornado,
    String java,
    long seed,
    Ceilings ceilings,
    List<Cell> cells) {

  /** Dense matrix products on an H100, for where they are not measured. */
  static final double STATED_FLOP_PER_SECOND = 790e12;

  /**
   * Ceilings of the device; the floor takes the higher of both copies.
   *
   * @param copyBytesPerSecond read and written by TornadoVM's copy kernel
   * @param copyCorrect whether that kernel's copy was right
   * @param torchCopyBytesPerSecond read and written by PyTorch's device-to-device copy, if measured
   * @param torchFlopPerSecond of PyTorch's bf16 product of 8192x8192 matrices, if measured; else
   *     {@link #STATED_FLOP_PER_SECOND} counts
   */
  @JsonIgnoreProperties(ignoreUnknown = true)
  record Ceilings(
      double copyBytesPerSecond,
      boolean copyCorrect,
      @Nullable Double torchCopyBytesPerSecond,
      @Nullable Double torchFlopPerSecond) {

    @JsonProperty("bytes_per_second")
    double bytesPerSecond() {
      return torchCopyBytesPerSecond == null
          ? copyBytesPerSecond
          : Math.max(copyBytesPerSecond, torchCopyBytesPerSecond);
    }

    @JsonProperty("flop_per_second")
    double flopPerSecond() {
      return torchFlopPerSecond == null ? STATED_FLOP_PER_SECOND : torchFlopPerSecond;
    }

    double floorMicros(double bytes, double flop) {
      return 1e6 * Math.max(bytes / bytesPerSecond(), flop / flopPerSecond());
    }
  }

  /**
   * Time of one block size.
   *
   * @param block rows of a block
   * @param micros GPU time of shrink and expand
   * @param callMicros time of one call of the captured graph as the host sees it, GPU time included
   * @param worstError largest error of a checked element, as a share of its bound
   * @param chosen whether the backend takes this block size for such a batch
   */
  @JsonIgnoreProperties(ignoreUnknown = true)
  record Variant(int block, double micros, double callMicros, double worstError, boolean chosen) {}

  /**
   * vLLM's operator in the same run.
   *
   * @param micros GPU time of each variant
   * @param error of the result, as the norm of the difference over that of the reference
   * @param parts GPU time of the parts of a whole layer's fastest variant, else null
   */
  @JsonIgnoreProperties(ignoreUnknown = true)
  record Vllm(Map<String, Double> micros, double error, @Nullable Map<String, Double> parts) {
    /** Relative error that rounding to 16 bits between and after the products explains. */
    private static final double MOST_ERROR = 0.02;

    /** Whether the result was right. */
    boolean valid() {
      return error <= MOST_ERROR;
    }

    /** The fastest variant. */
    @JsonProperty("best")
    String best() {
      return micros.entrySet().stream()
          .min(Map.Entry.comparingByValue())
          .map(Map.Entry::getKey)
          .orElseThrow();
    }

    @JsonProperty("best_micros")
    double bestMicros() {
      return micros.values().stream().mapToDouble(Double::doubleValue).min().orElseThrow();
    }
  }

  /**
   * One cell of the table.
   *
   * @param shape name of the shape
   * @param type of weights and activations, {@code bf16} or {@code fp16}
   * @param groups pairs of adapter and expert that occur
   * @param bytes that must move
   * @param flop of both products
   * @param floorMicros time that bytes or flop take at the ceilings
   * @param variants a time for each block size
   * @param vllm null where it was not measured
   */
  @JsonIgnoreProperties(ignoreUnknown = true)
  record Cell(
      @JsonProperty("case") String shape,
      String type,
      int rank,
      int tokens,
      int groups,
      double bytes,
      double flop,
      double floorMicros,
      List<Variant> variants,
      @Nullable Vllm vllm) {

    /** What a user of the backend gets. */
    Variant chosen() {
      return variants.stream().filter(Variant::chosen).findFirst().orElseThrow();
    }

    Variant best() {
      return variants.stream().min(Comparator.comparingDouble(Variant::micros)).orElseThrow();
    }

    @JsonProperty("micros")
    double micros() {
      return chosen().micros();
    }

    @JsonProperty("best_micros")
    double bestMicros() {
      return best().micros();
    }

    @JsonProperty("times_floor")
    double timesFloor() {
      return micros() / floorMicros;
    }

    @JsonProperty("times_vllm")
    @Nullable Double timesVllm() {
      return vllm == null ? null : micros() / vllm.bestMicros();
    }

    /** Whether all results were right and all times positive. */
    boolean valid() {
      return variants.stream()
          .allMatch(variant -> variant.worstError() <= 1 && variant.micros() > 0);
    }

    private Cell with(Ceilings ceilings, @Nullable Vllm other) {
      return new Cell(
          shape,
          type,
          rank,
          tokens,
          groups,
          bytes,
          flop,
          ceilings.floorMicros(bytes, flop),
          variants,
          other);
    }
  }

  static BenchReport read(Path file) throws IOException {
    BenchReport report = Output.json().readValue(Files.readAllBytes(file), BenchReport.class);
    if (report.cells() == null || report.cells().isEmpty()) {
      throw new IllegalArgumentException("%s must hold cells, got none".formatted(file));
    }
    return report;
  }

  /** Writes the file in one piece, so that an end halfway leaves the last state. */
  void write(Path file) throws IOException {
    Path part = file.resolveSibling(file.getFileName() + ".part");
    Output.writeJson(part, this);
    Files.move(part, file, StandardCopyOption.REPLACE_EXISTING);
  }

  /** Whether the copy and all cells are right. */
  boolean valid() {
    return ceilings.copyCorrect() && cells.stream().allMatch(Cell::valid);
  }

  BenchReport withCell(Cell cell) {
    List<Cell> list = new ArrayList<>(cells);
    list.add(cell);
    return new BenchReport(command, started, device, tornado, java, seed, ceilings, list);
  }

  /**
   * Takes in a line that {@code bench-vllm.py} prints: the ceilings, or a cell.
   *
   * @throws IllegalArgumentException if it is neither, or its cell is not here
   */
  BenchReport withVllmLine(String line) throws IOException {
    JsonNode node = Output.json().readTree(line);
    if (node.has("flop_per_second")) {
      Ceilings measured =
          new Ceilings(
              ceilings.copyBytesPerSecond(),
              ceilings.copyCorrect(),
              node.path("copy_bytes_per_second").doubleValue(),
              node.path("flop_per_second").doubleValue());
      List<Cell> list = cells.stream().map(cell -> cell.with(measured, cell.vllm())).toList();
      return new BenchReport(command, started, device, tornado, java, seed, measured, list);
    }
    List<Cell> list = new ArrayList<>(cells);
    for (int i = 0; i < list.size(); i++) {
      Cell cell = list.get(i);
      if (cell.shape().equals(node.path("case").asText())
          && cell.type().equals(node.path("type").asText())
          && cell.rank() == node.path("rank").intValue()
          && cell.tokens() == node.path("tokens").intValue()) {
        list.set(i, cell.with(ceilings, Output.json().treeToValue(node, Vllm.class)));
        return new BenchReport(command, started, device, tornado, java, seed, ceilings, list);
      }
    }
    throw new IllegalArgumentException("line of bench-vllm.py must name a cell, got " + line);
  }

  /** The cells as a table for people, after a line on the device and the ceilings. */
  String table() {
    StringBuilder text = new StringBuilder();
    text.append(
        Output.format(
            "%s, Java %s%nfloor: %.2f TB/s (%s), %.0f TFLOP/s (%s)%n",
            device,
            java,
            ceilings.bytesPerSecond() / 1e12,
            ceilings.torchCopyBytesPerSecond() == null
                ? "TornadoVM's copy"
                : Output.format(
                    "TornadoVM's copy %.2f, PyTorch's %.2f",
                    ceilings.copyBytesPerSecond() / 1e12,
                    ceilings.torchCopyBytesPerSecond() / 1e12),
            ceilings.flopPerSecond() / 1e12,
            ceilings.torchFlopPerSecond() == null ? "stated" : "measured"));
    text.append(
        Output.format(
            "%-14s %-5s %4s %6s | %9s %5s %15s | %9s %-9s %9s | %9s %10s | %8s%n",
            "case",
            "type",
            "rank",
            "tokens",
            "ours us",
            "block",
            "best (block)",
            "vLLM us",
            "variant",
            "ours/vLLM",
            "floor us",
            "ours/floor",
            "call us"));
    for (Cell cell : cells) {
      Vllm vllm = cell.vllm();
      text.append(
          Output.format(
              "%-14s %-5s %4d %6d | %9.1f %5d %15s | %9s %-9s %9s | %9.1f %10.2f | %8.1f%s%n",
              cell.shape(),
              cell.type(),
              cell.rank(),
              cell.tokens(),
              cell.micros(),
              cell.chosen().block(),
              Output.format("%.1f (%d)", cell.bestMicros(), cell.best().block()),
              vllm == null ? "-" : Output.format("%.1f", vllm.bestMicros()),
              vllm == null ? "-" : vllm.best(),
              vllm == null ? "-" : Output.format("%.2f", cell.micros() / vllm.bestMicros()),
              cell.floorMicros(),
              cell.timesFloor(),
              cell.chosen().callMicros(),
              cell.valid() ? "" : "  WRONG"));
    }
    return text.toString();
  }
}
