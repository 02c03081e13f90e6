package io.github.moelora.tornado.kernels;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import java.util.List;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * {@link PairKernels} on the emulated device; EngineRoutingTest runs those for float32 weights on a
 * real one.
 */
@Tag("emulated")
class PairKernelsTest {

  static List<PairCase> cases() {
    return PairCase.all();
  }

  @ParameterizedTest
  @MethodSource("cases")
  void matchesTheReference(PairCase each) {
    each.build(7).run(7);
  }

  /** exp and tanh of the Java library here; each of some ten operations rounds by 2^-24. */
  @Test
  void activations() {
    for (float g = -12; g < 12; g += 0.37f) {
      for (float u = -9; u < 9; u += 0.71f) {
        for (int number = 0; number < 4; number++) {
          double expected = EmulatedPairs.activation(number, g, u);
          assertThat((double) PairY.activation(number, g, u))
              .as("activation %d of %f, %f", number, g, u)
              .isCloseTo(expected, within(2e-6 * (Math.abs(expected) + Math.abs(g * u))));
        }
      }
    }
  }
}
