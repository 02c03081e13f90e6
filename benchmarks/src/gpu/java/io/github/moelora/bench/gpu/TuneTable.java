package io.github.moelora.bench.gpu;

import io.github.moelora.DType;
import io.github.moelora.cli.Output;
import io.github.moelora.tornado.choice.BlockLimits;
import io.github.moelora.tornado.tune.LimitsFit;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;

/**
 * The built-in table of block sizes out of runs of {@link BenchGpu}: lines as {@code BlockLimits}
 * has them, and where they would not take the fastest block size.
 */
final class TuneTable {
  /** A cell and what the fit needs of it. */
  private record Measured(BenchReport.Cell cell, LimitsFit.Cell fit) {}

  private TuneTable() {}

  /** The table of all reports, for each device and type. */
  static String text(List<BenchReport> reports) {
    Map<String, Map<DType, List<Measured>>> byDevice = new LinkedHashMap<>();
    for (BenchReport report : reports) {
      String device = report.device().split(",", 2)[0];
      Map<DType, List<Measured>> byType =
          byDevice.computeIfAbsent(device, _ -> new LinkedHashMap<>());
      for (BenchReport.Cell cell : report.cells()) {
        DType type = BenchGpu.dtype(cell.type());
        byType.computeIfAbsent(type, _ -> new ArrayList<>()).add(measured(cell, type));
      }
    }
    StringBuilder text = new StringBuilder();
    byDevice.forEach(
        (device, byType) ->
            byType.forEach((type, cells) -> text.append(lines(device, type, cells))));
    return text.toString();
  }

  private static Measured measured(BenchReport.Cell cell, DType type) {
    BenchShape shape = BenchShape.named(cell.shape());
    int pairs = cell.tokens() * shape.preset().expertsPerToken();
    Map<Integer, Double> times =
        cell.variants().stream()
            .collect(Collectors.toMap(BenchReport.Variant::block, BenchReport.Variant::micros));
    return new Measured(
        cell,
        new LimitsFit.Cell(
            shape.sizes(cell.tokens(), cell.rank(), type).config(), pairs, cell.groups(), times));
  }

  private static String lines(String device, DType type, List<Measured> cells) {
    List<LimitsFit.Cell> fits = cells.stream().map(Measured::fit).toList();
    BlockLimits limits = LimitsFit.fit(fits, BlockLimits.of(device, type));
    StringBuilder text = new StringBuilder(Output.format("%s,%n", limits.row(device, type)));
    for (Measured each : cells) {
      LimitsFit.Cell fit = each.fit();
      if (fit.chosen(limits) != fit.fastest()) {
        text.append(
            Output.format(
                "// %s, rank %d, %d tokens: %d takes %.3f times as long as %d%n",
                each.cell().shape(),
                each.cell().rank(),
                each.cell().tokens(),
                fit.chosen(limits),
                fit.slowdown(limits),
                fit.fastest()));
      }
    }
    return text.toString();
  }
}
