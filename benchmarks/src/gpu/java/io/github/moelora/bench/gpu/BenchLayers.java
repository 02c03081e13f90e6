package io.github.moelora.bench.gpu;

import io.github.moelora.DType;
import java.io.IOException;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * Whole layers, ours and vLLM's in one run: every model, type, rank and batch size, each checked
 * before it is timed.
 */
final class BenchLayers {

  /**
   * What is measured.
   *
   * @param shapes the models
   * @param types their names and what they are
   * @param graphs the batch sizes that get captured graphs
   * @param tokens the batch sizes that are timed
   */
  record Cells(
      List<BenchShape> shapes,
      Map<String, DType> types,
      List<Integer> ranks,
      BenchLayer.Graphs graphs,
      List<Integer> tokens) {}

  /** Keeps what was measured so far, so that an end halfway leaves it. */
  interface Save {
    void save(LayerReport report) throws IOException;
  }

  private final Cells cells;
  private final @Nullable Path vllm;
  private final Save save;
  private LayerReport report;

  /**
   * @param vllm folder of vLLM's sources, null: not measured
   */
  BenchLayers(Cells cells, @Nullable Path vllm, Save save, LayerReport.Run run) {
    this.cells = cells;
    this.vllm = vllm;
    this.save = save;
    report = new LayerReport(run, List.of());
  }

  /**
   * Measures all of it; an error is printed, and the other models go on.
   *
   * @return whether nothing is missing
   */
  boolean measure() throws IOException, InterruptedException {
    boolean complete = true;
    for (var type : cells.types().entrySet()) {
      for (BenchShape shape : cells.shapes()) {
        for (int rank : cells.ranks()) {
          complete &= measure(shape, rank, type.getKey(), type.getValue());
        }
      }
    }
    boolean compared = vllm == null || measureVllm(vllm);
    return complete && compared;
  }

  /** What was measured. */
  LayerReport report() {
    return report;
  }

  private boolean measure(BenchShape shape, int rank, String name, DType type) throws IOException {
    long start = System.nanoTime();
    try (BenchLayer layer =
        new BenchLayer(shape, rank, type, report.run().seed(), cells.graphs())) {
      for (int count : cells.tokens()) {
        LayerReport.Time time = layer.measure(count);
        add(report.withCell(new LayerReport.Cell(shape.name(), name, rank, count, time, null)));
        System.err.printf("%s %s rank %d, %d tokens: %s%n", shape.name(), name, rank, count, time);
      }
    } catch (RuntimeException | Error e) {
      // TornadoVM throws its own as Error, and a class named here would be needed without it, too
      System.err.printf("bench-gpu: %s, %s, rank %d failed:%n", shape.name(), name, rank);
      e.printStackTrace();
      return false;
    }
    System.err.printf("took %.1f s%n", (System.nanoTime() - start) / 1e9);
    return true;
  }

  /**
   * The program that measures vLLM's layers.
   *
   * @param folder of vLLM's sources
   */
  static VllmDriver driver(Cells cells, Path folder) {
    VllmDriver driver =
        new VllmDriver("bench-vllm-layer.py", folder)
            .with("--layers", cells.shapes().stream().map(BenchShape::name).toList())
            .with("--types", List.copyOf(cells.types().keySet()))
            .with("--ranks", cells.ranks())
            .with("--tokens", cells.tokens());
    return cells.graphs().variants() ? driver.with("--variants", List.of()) : driver;
  }

  private boolean measureVllm(Path folder) throws IOException, InterruptedException {
    int status = driver(cells, folder).run(line -> add(report.withVllmLine(line)));
    long missing = report.withoutVllm();
    if (status != 0 || missing > 0) {
      System.err.printf(
          "bench-gpu: vLLM's driver ended with code %d, %d cells without a right result of it%n",
          status, missing);
    }
    return status == 0 && missing == 0;
  }

  private void add(LayerReport next) throws IOException {
    report = next;
    save.save(next);
  }
}
