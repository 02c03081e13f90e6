package io.github.moelora.bench;

import org.junit.jupiter.api.Test;

final class RoutingBenchmarkTest {
  @Test
  void checksItsPlan() {
    RoutingBenchmark benchmark = new RoutingBenchmark();
    benchmark.tokens = 33;
    benchmark.open();
    benchmark.plan();
    benchmark.close();
  }
}
