package io.github.moelora.bench.gpu;

import io.github.moelora.DType;
import java.util.List;
import java.util.Locale;

/** Lines of {@code bench-gpu --layer}: a table for people, or JSON objects. */
final class LayerTable {
  private static final String HEADER =
      "%-14s %-5s %4s %6s %10s %9s %9s %9s %8s%n"
          .formatted(
              "layer", "type", "rank", "tokens", "layer us", "plan", "gate/up", "down", "error");

  private final StringBuilder table = new StringBuilder(HEADER);
  private final StringBuilder json = new StringBuilder();
  private boolean valid = true;

  /** Adds what was measured of a shape. */
  void add(String layer, String type, DType dtype, int rank, List<BenchLayer.Result> results) {
    // one rounding of the result, and of the terms' sums in float32 far less
    double most = dtype == DType.BF16 ? 1.0 / 128 : 1.0 / 512;
    for (BenchLayer.Result each : results) {
      valid &= each.worstError() <= most && each.layer() > 0;
      table.append(
          String.format(
              Locale.ROOT,
              "%-14s %-5s %4d %6d %10.2f %9.2f %9.2f %9.2f %8.1e%n",
              layer,
              type,
              rank,
              each.tokens(),
              each.layer(),
              each.plan(),
              each.gateUp(),
              each.down(),
              each.worstError()));
      json.append(
          String.format(
              Locale.ROOT,
              "{\"layer\":\"%s\",\"type\":\"%s\",\"rank\":%d,\"tokens\":%d,\"layer_us\":%.3f,"
                  + "\"plan_us\":%.3f,\"gate_up_us\":%.3f,\"down_us\":%.3f,\"error\":%.2e}%n",
              layer,
              type,
              rank,
              each.tokens(),
              each.layer(),
              each.plan(),
              each.gateUp(),
              each.down(),
              each.worstError()));
    }
  }

  /** Whether all results are right and could be timed. */
  boolean valid() {
    return valid;
  }

  /** One JSON object a line. */
  String json() {
    return json.toString();
  }

  @Override
  public String toString() {
    return table.toString();
  }
}
