package io.github.moelora.tornado.kernels;

import java.util.List;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** {@link OneShot} on the emulated device against the reference. */
@Tag("emulated")
class OneShotTest {

  static List<EmulatedCase> cases() {
    return EmulatedCase.ofOneShot();
  }

  static List<EmulatedCase> ofManyRanks() {
    return EmulatedCase.ofManyRanks();
  }

  @ParameterizedTest
  @MethodSource("cases")
  void matchesTheReference(EmulatedCase test) {
    test.run(EmulatedProjection::run);
  }

  @ParameterizedTest
  @MethodSource("ofManyRanks")
  void takesMoreRanksThanShrinkAndExpand(EmulatedCase test) {
    test.run(1, EmulatedProjection::run);
  }
}
