package io.github.moelora;

import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assertions.assertThatNoException;

import org.junit.jupiter.api.Test;

class ChecksTest {

  @Test
  void atLeastTakesTheBound() {
    assertThatNoException().isThrownBy(() -> Checks.atLeast("n", 3, 3));
    assertThatIllegalArgumentException()
        .isThrownBy(() -> Checks.atLeast("n", 2, 3))
        .withMessage("n must be at least 3, got 2");
  }

  @Test
  void inRangeTakesTheFirstAndNotTheLast() {
    assertThatNoException().isThrownBy(() -> Checks.inRange("n", -1, -1, 4));
    assertThatNoException().isThrownBy(() -> Checks.inRange("n", 3, -1, 4));
    assertThatIllegalArgumentException()
        .isThrownBy(() -> Checks.inRange("n", -2, -1, 4))
        .withMessage("n must be in [-1, 4), got -2");
    assertThatIllegalArgumentException()
        .isThrownBy(() -> Checks.inRange("n", 4, -1, 4))
        .withMessage("n must be in [-1, 4), got 4");
  }
}
