package io.github.moelora.tornado.kernels;

import java.util.List;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** {@link MmaShrink} on the emulated device, its z against a float64 reference. */
@Tag("emulated")
class MmaShrinkTest {

  static List<EmulatedCase> cases() {
    return EmulatedCase.ofSplit();
  }

  @ParameterizedTest
  @MethodSource("cases")
  void matchesTheReference(EmulatedCase test) {
    test.run(EmulatedProjection::runShrink);
  }
}
