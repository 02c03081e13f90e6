package io.github.moelora;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assertions.assertThatIllegalStateException;
import static org.assertj.core.api.Assertions.assertThatNoException;

import io.github.moelora.spi.Availability;
import io.github.moelora.spi.BackendProvider;
import io.github.moelora.testkit.Logged;
import java.util.List;
import org.junit.jupiter.api.Test;

class BackendsTest {
  private static final Availability NO_DEVICE =
      new Availability.Unusable("no device", "plug one in");

  private static FakeBackend usable(String name, int priority) {
    return new FakeBackend(name).availability(new Availability.Usable("x", priority));
  }

  private static FakeBackend unusable(String name) {
    return new FakeBackend(name).availability(NO_DEVICE);
  }

  @Test
  void theCpuBackendIsFound() {
    assertThat(Backends.all()).extracting(BackendProvider::name).containsExactly("cpu");
    assertThat(Backends.named("cpu").name()).isEqualTo("cpu");
    assertThat(Backends.best().name()).isEqualTo("cpu");
  }

  @Test
  void theHighestPriorityOfTheUsableIsBest() {
    assertThat(
            Backends.best(
                    List.of(usable("a", 1), usable("b", 3), unusable("c"), usable("d", 2)),
                    _ -> true)
                .name())
        .isEqualTo("b");
    assertThat(Backends.best(List.of(unusable("a"), usable("b", -5)), _ -> true).name())
        .isEqualTo("b");
    // a tie goes to the first
    assertThat(Backends.best(List.of(usable("a", 2), usable("b", 2)), _ -> true).name())
        .isEqualTo("a");
  }

  @Test
  void onlyThoseThatSuitAreChosen() {
    List<BackendProvider> providers = List.of(usable("a", 1), usable("b", 3), unusable("c"));
    assertThat(Backends.best(providers, each -> each.name().equals("a")).name()).isEqualTo("a");
    assertThatIllegalStateException()
        .isThrownBy(() -> Backends.best(providers, each -> each.name().equals("c")))
        .withMessage("no backend is usable: a: does not suit; b: does not suit; c: no device");
  }

  @Test
  void whoIsPassedOverIsNamedWithTheRemedy() {
    try (Logged log = new Logged(Backends.class)) {
      assertThat(Backends.best(List.of(unusable("a"), usable("b", 0)), _ -> true).name())
          .isEqualTo("b");
      assertThat(log.lines())
          .containsExactly("WARN backend b is used, not a: no device. plug one in");
    }
  }

  @Test
  void allReasonsAreToldWhereNoneIsUsable() {
    assertThatIllegalStateException()
        .isThrownBy(() -> Backends.best(List.of(unusable("a"), unusable("b")), _ -> true))
        .withMessage("no backend is usable: a: no device; b: no device");
  }

  @Test
  void anUnknownNameIsRefusedWithTheKnownOnes() {
    assertThatIllegalArgumentException()
        .isThrownBy(() -> Backends.named("gpu"))
        .withMessage("backend must be one of [cpu], got gpu");
    MoeLoraConfig config = MoeLoraConfig.of(new MoeModel(1, 1, 1, GateUp.HALVES, List.of(0)), 1, 1);
    assertThatIllegalArgumentException()
        .isThrownBy(() -> MoeLora.open(config, "gpu"))
        .withMessage("backend must be one of [cpu], got gpu");
  }

  @Test
  void anUnusableBackendIsRefusedWithReasonAndRemedy() {
    assertThatNoException().isThrownBy(() -> Backends.requireUsable(usable("a", 0)));
    assertThatIllegalStateException()
        .isThrownBy(() -> Backends.requireUsable(unusable("a")))
        .withMessage("backend a cannot run: no device. plug one in");
  }
}
