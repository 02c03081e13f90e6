package io.github.moelora.tornado.kernels;

import java.util.List;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** {@link MmaDelta} behind shrink on the emulated device, and the sums of its deltas. */
@Tag("emulated")
class MmaDeltaTest {

  static List<EmulatedSums.Case> cases() {
    return EmulatedSums.ofBlocks();
  }

  @ParameterizedTest
  @MethodSource("cases")
  void matchesTheReference(EmulatedSums.Case each) {
    each.build(11).run(11);
  }
}
