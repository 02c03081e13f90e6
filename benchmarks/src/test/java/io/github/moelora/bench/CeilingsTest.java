package io.github.moelora.bench;

import static org.assertj.core.api.Assertions.assertThat;

import org.junit.jupiter.api.Test;

final class CeilingsTest {
  @Test
  void arePlausible() {
    // the first rounds are not compiled yet, which costs a factor of a thousand
    double read = 0;
    double fma = 0;
    try (Ceilings ceilings = new Ceilings(4 << 20)) {
      for (int round = 0; round < 20; round++) {
        read = Math.max(read, ceilings.readBytesPerSecond());
        fma = Math.max(fma, ceilings.fmaFlopsPerSecond());
      }
    }
    assertThat(read).isBetween(1e7, 1e13);
    assertThat(fma).isBetween(1e7, 1e15);
  }
}
