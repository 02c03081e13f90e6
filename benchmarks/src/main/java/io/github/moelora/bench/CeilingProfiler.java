package io.github.moelora.bench;

import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;
import org.openjdk.jmh.infra.BenchmarkParams;
import org.openjdk.jmh.infra.IterationParams;
import org.openjdk.jmh.profile.InternalProfiler;
import org.openjdk.jmh.results.AggregationPolicy;
import org.openjdk.jmh.results.IterationResult;
import org.openjdk.jmh.results.Result;
import org.openjdk.jmh.results.ScalarResult;
import org.openjdk.jmh.runner.IterationType;

/**
 * Measures this machine's ceilings between the iterations of a benchmark that uses {@link Meter},
 * and reports the benchmark's rates, the ceilings and their ratios as secondary results.
 *
 * <p>Rates and ceilings are each the best of the whole run. {@code scripts/bench-jmh} adds it.
 */
public final class CeilingProfiler implements InternalProfiler {
  private static final int ROUNDS = 3;

  private @Nullable Ceilings ceilings;
  private double readBytesPerSecond;
  private double fmaFlopsPerSecond;
  private int iterations;

  /** Called by JMH. */
  public CeilingProfiler() {}

  @Override
  public String getDescription() {
    return "Rates of a benchmark against this machine's read bandwidth and FMA peak";
  }

  @Override
  public void beforeIteration(BenchmarkParams benchmark, IterationParams iteration) {}

  @Override
  public List<Result<?>> afterIteration(
      BenchmarkParams benchmark, IterationParams iteration, IterationResult result) {
    Meter meter = Meter.shared();
    if (meter.weightBytesPerSecond() == 0 || iteration.getType() != IterationType.MEASUREMENT) {
      return List.of();
    }
    measureCeilings();
    List<Result<?>> results = new ArrayList<>();
    if (++iterations == iteration.getCount()) {
      results.add(scalar("weights", meter.weightBytesPerSecond() / 1e9, "GB/s"));
      results.add(scalar("weights.ceiling", readBytesPerSecond / 1e9, "GB/s"));
      results.add(scalar("weights.ratio", meter.weightBytesPerSecond() / readBytesPerSecond, "1"));
      results.add(scalar("flops", meter.flopsPerSecond() / 1e9, "GFLOP/s"));
      results.add(scalar("flops.ceiling", fmaFlopsPerSecond / 1e9, "GFLOP/s"));
      results.add(scalar("flops.ratio", meter.flopsPerSecond() / fmaFlopsPerSecond, "1"));
    }
    return results;
  }

  private void measureCeilings() {
    if (ceilings == null) {
      ceilings = new Ceilings();
    }
    for (int i = 0; i < ROUNDS; i++) {
      readBytesPerSecond = Math.max(readBytesPerSecond, ceilings.readBytesPerSecond());
      fmaFlopsPerSecond = Math.max(fmaFlopsPerSecond, ceilings.fmaFlopsPerSecond());
    }
  }

  private static ScalarResult scalar(String label, double value, String unit) {
    return new ScalarResult(label, value, unit, AggregationPolicy.MAX);
  }
}
