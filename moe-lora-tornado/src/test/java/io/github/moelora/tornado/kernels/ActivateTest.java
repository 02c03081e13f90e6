package io.github.moelora.tornado.kernels;

import java.util.List;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** {@link Activate} on the emulated device. */
@Tag("emulated")
class ActivateTest {

  static List<EmulatedActivation.Case> cases() {
    return EmulatedActivation.all();
  }

  @ParameterizedTest
  @MethodSource("cases")
  void matchesTheFormula(EmulatedActivation.Case each) {
    each.build().run(5);
  }
}
