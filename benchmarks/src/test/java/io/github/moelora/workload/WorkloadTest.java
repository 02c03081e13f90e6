package io.github.moelora.workload;

import static org.assertj.core.api.Assertions.assertThat;

import io.github.moelora.DType;
import io.github.moelora.GateUp;
import io.github.moelora.MoeModel;
import io.github.moelora.Projection;
import io.github.moelora.ProjectionCall;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;

final class WorkloadTest {
  private static final Preset TINY =
      new Preset("tiny", new MoeModel(24, 10, 5, GateUp.HALVES, List.of(0)), 2);

  private static Workload.Sizes sizes(int layers, int tokens) {
    return new Workload.Sizes(TINY, layers, 3, 4, tokens, DType.BF16, DType.F32);
  }

  @Test
  void aBatchHasDistinctExpertsAndAllAdapters() {
    Batch batch = Batch.random(new Random(1), 50, 3, 7, 4);
    assertThat(batch.tokens()).isEqualTo(50);
    assertThat(batch.pairs()).isEqualTo(150);
    for (int t = 0; t < 50; t++) {
      assertThat(Arrays.stream(batch.expertIds(), 3 * t, 3 * t + 3))
          .doesNotHaveDuplicates()
          .allMatch(e -> e >= 0 && e < 7);
      float sum = 0;
      for (int k = 0; k < 3; k++) {
        sum += batch.routingWeights()[3 * t + k];
      }
      assertThat(sum).isBetween(0.999f, 1.001f);
    }
    assertThat(Arrays.stream(batch.adapterIds()).distinct().sorted()).containsExactly(0, 1, 2, 3);
  }

  @Test
  void bytesAndFlopsAreCountedByHand() {
    // one token of one adapter and two experts: A [4, 24] twice, B [10, 4] twice, 2 bytes each
    Batch batch = new Batch(new int[] {1, 4}, new float[] {0.5f, 0.5f}, new int[] {2});
    long gateUp = 2 * (4 * 24 + 10 * 4) * 2;
    long down = (4 * 10 + 24 * 4) * 2;
    assertThat(sizes(1, 1).expertBytes(Projection.GATE_UP)).isEqualTo(gateUp);
    assertThat(sizes(1, 1).expertBytes(Projection.DOWN)).isEqualTo(down);
    assertThat(sizes(2, 1).weightBytes()).isEqualTo(2 * 3 * 5 * (gateUp + down));
    ProjectionCall call = ProjectionCall.gateUp(0);
    assertThat(sizes(1, 1).weightBytes(call, batch)).isEqualTo(2 * gateUp);
    // x once, y read and written, 4 bytes each
    assertThat(sizes(1, 1).movedBytes(call, batch)).isEqualTo(2 * gateUp + 4 * (24 + 2 * 2 * 20));
    assertThat(sizes(1, 1).flops(call, batch)).isEqualTo(2 * 2 * (gateUp / 2));
    assertThat(sizes(1, 1).flops(ProjectionCall.down(0), batch)).isEqualTo(2 * 2 * (down / 2));
  }
}
