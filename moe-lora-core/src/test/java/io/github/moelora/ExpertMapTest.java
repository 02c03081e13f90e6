package io.github.moelora;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;

import org.junit.jupiter.api.Test;

class ExpertMapTest {

  @Test
  void identityKeepsAllIds() {
    ExpertMap map = ExpertMap.identity(3);
    assertThat(map.experts()).isEqualTo(3);
    assertThat(map.localExperts()).isEqualTo(3);
    for (int e = 0; e < 3; e++) {
      assertThat(map.local(e)).isEqualTo(e);
      assertThat(map.global(e)).isEqualTo(e);
    }
    assertThatIllegalArgumentException()
        .isThrownBy(() -> ExpertMap.identity(0))
        .withMessage("experts must be at least 1, got 0");
  }

  @Test
  void globalIsTheInverseOfLocal() {
    int[] local = {1, -1, 2, 0, -1};
    ExpertMap map = ExpertMap.of(local);
    local[0] = 4;
    assertThat(map.experts()).isEqualTo(5);
    assertThat(map.localExperts()).isEqualTo(3);
    assertThat(new int[] {map.local(0), map.local(1), map.local(2), map.local(3), map.local(4)})
        .containsExactly(1, -1, 2, 0, -1);
    assertThat(new int[] {map.global(0), map.global(1), map.global(2)}).containsExactly(3, 0, 2);
  }

  @Test
  void allMayLiveElsewhere() {
    assertThat(ExpertMap.of(-1, -1).localExperts()).isZero();
  }

  @Test
  void localIdsMustBeTheFirstNumbersOnceEach() {
    assertThatIllegalArgumentException()
        .isThrownBy(ExpertMap::of)
        .withMessage("local.length must be at least 1, got 0");
    assertThatIllegalArgumentException()
        .isThrownBy(() -> ExpertMap.of(0, 2, -1))
        .withMessage("local[1] must be in [-1, 2), got 2");
    assertThatIllegalArgumentException()
        .isThrownBy(() -> ExpertMap.of(0, -2))
        .withMessage("local[1] must be in [-1, 2), got -2");
    assertThatIllegalArgumentException()
        .isThrownBy(() -> ExpertMap.of(1, 0, -1, 0))
        .withMessage("local[3] must differ from local[1], got 0");
  }
}
