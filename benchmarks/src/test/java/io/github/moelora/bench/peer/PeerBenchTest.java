package io.github.moelora.bench.peer;

import static org.assertj.core.api.Assertions.assertThat;

import io.github.moelora.bench.Timing.Quartiles;
import java.util.List;
import org.junit.jupiter.api.Test;

/** What the table says of costs that are lost in noise. */
class PeerBenchTest {

  @Test
  void aCostWhoseLowerQuartileIsNotPositiveIsNoise() {
    Quartiles ours = new Quartiles(49.6, 54, 60);
    PeerBench.Cell clear = new PeerBench.Cell(16, 64, ours, new Quartiles(90, 108, 130));
    PeerBench.Cell noisy = new PeerBench.Cell(64, 1, ours, new Quartiles(0, 49, 110));
    PeerBench.Cell unknown = new PeerBench.Cell(64, 8, ours, new Quartiles(Double.NaN, 1, 2));
    assertThat(clear.lostInNoise()).isFalse();
    assertThat(noisy.lostInNoise()).isTrue();
    assertThat(unknown.lostInNoise()).isTrue();
    assertThat(PeerBench.table(List.of(clear, noisy)).lines())
        .containsExactly(
            "rank tokens  ours us (quartiles) llama.cpp us (quartiles)  ratio",
            "  16     64        54 (50 to 60)          108 (90 to 130)   0.50",
            "  64      1        54 (50 to 60)            49 (0 to 110)  noise");
  }
}
