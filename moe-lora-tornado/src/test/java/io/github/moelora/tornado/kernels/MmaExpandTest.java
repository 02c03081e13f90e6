package io.github.moelora.tornado.kernels;

import java.util.List;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * {@link MmaExpand} on the emulated device and the reference's z; {@link KernelMutantsTest} runs it
 * behind {@link MmaShrink}.
 */
@Tag("emulated")
class MmaExpandTest {

  static List<EmulatedCase> cases() {
    return EmulatedCase.ofSplit();
  }

  @ParameterizedTest
  @MethodSource("cases")
  void matchesTheReference(EmulatedCase test) {
    test.run(EmulatedProjection::runExpand);
  }
}
