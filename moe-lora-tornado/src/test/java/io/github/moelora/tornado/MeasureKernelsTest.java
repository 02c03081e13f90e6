package io.github.moelora.tornado;

import static org.assertj.core.api.Assertions.assertThat;

import io.github.moelora.Projection;
import io.github.moelora.tornado.emulator.Launch;
import io.github.moelora.tornado.emulator.RecordedGraph;
import java.util.List;
import java.util.Random;
import java.util.SplittableRandom;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import uk.ac.manchester.tornado.api.GridScheduler;

/** The kernels that measure what the measures are worth, on the emulated device. */
@Tag("emulated")
class MeasureKernelsTest {
  private static final int TOKENS = 19;

  /** No width, rank or group is whole. */
  private static final BenchShape SHAPE =
      new BenchShape("small", 532, 268, 3, 2, 2, Projection.GATE_UP);

  static List<MeasureVariant> variants() {
    return MeasureVariant.ALL;
  }

  @ParameterizedTest
  @MethodSource("variants")
  void matchesTheReference(MeasureVariant variant) {
    long seed = new Random().nextLong();
    System.out.println(variant + ": seed " + seed);
    BenchBatch tokens = BenchBatch.random(SHAPE, 11, TOKENS, new SplittableRandom(seed));
    MeasureBatch batch = new MeasureBatch(tokens, TOKENS, seed);
    RecordedGraph graph = new RecordedGraph("emulated");
    GridScheduler scheduler = new GridScheduler();
    batch.append(graph, "emulated", scheduler, "", variant);
    for (Launch launch : graph.launches(scheduler)) {
      launch.run(seed);
    }
    assertThat(batch.worstError()).isLessThanOrEqualTo(1);
  }
}
