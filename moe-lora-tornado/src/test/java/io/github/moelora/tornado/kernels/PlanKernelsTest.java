package io.github.moelora.tornado.kernels;

import java.util.List;
import org.junit.jupiter.api.Nested;
import org.junit.jupiter.api.Tag;

/** {@link PlanKernels} on the emulated device: one task, and three with small chunks. */
@Tag("emulated")
class PlanKernelsTest {

  @Nested
  class OneTask extends PlanContract {
    @Override
    Plan plan(Batch batch) {
      return new PlannedOnDevice(batch.config(), batch.blockSize(), 0, 0).with(batch).emulate(3);
    }
  }

  @Nested
  class Chunks extends PlanContract {
    @Override
    Plan plan(Batch batch) {
      return new PlannedOnDevice(batch.config(), batch.blockSize(), 4, 8).with(batch).emulate(4);
    }

    @Override
    List<Integer> tokens() {
      return List.of(0, 1, 7, 11, 37);
    }
  }
}
