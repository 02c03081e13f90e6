package io.github.moelora.tornado.kernels;

import java.util.List;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** {@link Combine} on the emulated device, on deltas of pairs as they come. */
@Tag("emulated")
class CombineTest {

  static List<EmulatedSums.Case> cases() {
    return EmulatedSums.ofPairs();
  }

  @ParameterizedTest
  @MethodSource("cases")
  void matchesTheReference(EmulatedSums.Case each) {
    each.build(11).run(11);
  }
}
