package io.github.moelora.tornado.kernels;

import java.util.List;
import org.junit.jupiter.api.Nested;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** {@link PlanKernels} on the emulated device: one task, and three of small chunks; both ways. */
@Tag("emulated")
class PlanKernelsTest {

  static List<PlanCase> cases() {
    return PlanCase.all();
  }

  @ParameterizedTest
  @MethodSource("cases")
  void corners(PlanCase each) {
    each.run(3);
  }

  @Nested
  class Production extends PlanContract {
    @Override
    Plan plan(Batch batch) {
      return new PlannedOnDevice(batch.config(), batch.blockSize(), 0, 0, true)
          .with(batch)
          .emulate(3);
    }
  }

  /** More groups than threads, so that some have several, and a part that is not whole. */
  @Nested
  class CountedByFew extends PlanContract {
    @Override
    Plan plan(Batch batch) {
      return new PlannedOnDevice(batch.config(), batch.blockSize(), 7, 8, true)
          .with(batch)
          .emulate(5);
    }

    @Override
    List<Integer> tokens() {
      return List.of(0, 1, 22, 37);
    }
  }

  @Nested
  class Sorted extends PlanContract {
    @Override
    Plan plan(Batch batch) {
      return new PlannedOnDevice(batch.config(), batch.blockSize(), 7, 64, false)
          .with(batch)
          .emulate(3);
    }

    @Override
    List<Integer> tokens() {
      return List.of(0, 1, 7, 37);
    }
  }

  @Nested
  class ChunksCounted extends PlanContract {
    @Override
    Plan plan(Batch batch) {
      return new PlannedOnDevice(batch.config(), batch.blockSize(), 4, 8, true)
          .with(batch)
          .emulate(4);
    }

    @Override
    List<Integer> tokens() {
      return List.of(0, 1, 7, 11, 37);
    }
  }

  @Nested
  class ChunksSorted extends PlanContract {
    @Override
    Plan plan(Batch batch) {
      return new PlannedOnDevice(batch.config(), batch.blockSize(), 4, 8, false)
          .with(batch)
          .emulate(4);
    }

    @Override
    List<Integer> tokens() {
      return List.of(0, 7, 11, 37);
    }
  }
}
