package io.github.moelora.peft.names;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatCode;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.github.moelora.peft.names.NamePattern.Budget;
import io.github.moelora.peft.names.NamePattern.ExhaustedException;
import java.util.regex.Pattern;
import java.util.regex.PatternSyntaxException;
import net.jqwik.api.Arbitraries;
import net.jqwik.api.Arbitrary;
import net.jqwik.api.ForAll;
import net.jqwik.api.Property;
import net.jqwik.api.Provide;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

final class NamePatternTest {
  private static Budget ample() {
    return new Budget(1_000_000);
  }

  private static boolean suffix(String regex, String name) {
    return NamePattern.suffix(regex, ample()).matches(name);
  }

  private static boolean whole(String regex, String name) {
    return NamePattern.whole(regex, ample()).matches(name);
  }

  @ParameterizedTest
  @CsvSource({
    "down_proj, a.b.down_proj, true",
    "down_proj, down_proj, true",
    "down_proj, a.xdown_proj, false",
    "down_proj, down_proj.a, false",
    "down_proj, own_proj, false",
    "b.down_proj, a.b.down_proj, true",
    "b.down_proj, a.c.down_proj, false",
    // a dot stands for any character, as in PEFT
    "b.down_proj, a.bxdown_proj, true",
    ".own_proj, a.down_proj, true",
    "'', a., true",
    "a)|(b, ax, true",
    "(gate|up)_proj, a.up_proj, true",
    "(gate|up)_proj, a.down_proj, false",
    "gate|up, a.up, true",
    "gate|up, a.gate, true",
    "gate|up, gate.x, false",
    "^a.b, a.b, true",
    "^a.b, x.a.b, false",
    "a.b$, a.b, true",
    "^model\\.layers\\.1\\., model.layers.1.x, false",
    "^model\\.layers\\.1\\..*, model.layers.1.x, true",
    "x(?=y)y, a.xy, true",
  })
  void asKeysOfRankPattern(String regex, String name, boolean matches) {
    assertThat(suffix(regex, name)).isEqualTo(matches);
  }

  @ParameterizedTest
  @CsvSource({
    "down_proj, down_proj, true",
    "down_proj, a.down_proj, false",
    "down_proj, down_projx, false",
    "a.b, axb, true",
    ".*down_proj, a.down_proj, true",
    ".*(gate|up), a.up, true",
    ".*(gate|up), a.upx, false",
    "gate|up, up, true",
    "gate|up, gateup, false",
  })
  void asTargetModules(String regex, String name, boolean matches) {
    assertThat(whole(regex, name)).isEqualTo(matches);
  }

  @Provide
  Arbitrary<String> words() {
    return Arbitraries.strings().withChars('a', 'b', '.').ofMaxLength(6);
  }

  /** The short cut for texts without special characters gives what the expression gives. */
  @Property
  void theShortCutChangesNothing(@ForAll("words") String regex, @ForAll("words") String name) {
    assertThat(suffix(regex, name))
        .isEqualTo(Pattern.compile("(.*\\.)?(" + regex + ")$").matcher(name).lookingAt());
    assertThat(whole(regex, name)).isEqualTo(Pattern.matches(regex, name));
  }

  @Test
  void allExpressionsPayFromOneBudget() {
    Budget budget = new Budget(200);
    NamePattern expression = NamePattern.whole("a*b?", budget);
    assertThat(expression.matches("aaaa")).isTrue();
    assertThatThrownBy(() -> expression.matches("a".repeat(100)))
        .isInstanceOf(ExhaustedException.class);
    assertThatThrownBy(() -> NamePattern.suffix("x", budget).matches("x"))
        .isInstanceOf(ExhaustedException.class);
  }

  @Test
  void theShortCutPaysOnce() {
    Budget budget = new Budget(2);
    NamePattern plain = NamePattern.suffix("proj", budget);
    assertThat(plain.matches("a.proj")).isTrue();
    assertThat(plain.matches("a.b")).isFalse();
    assertThatThrownBy(() -> plain.matches("a")).isInstanceOf(ExhaustedException.class);
  }

  @Test
  void longExpressionsAreRefused() {
    assertThatCode(() -> NamePattern.whole("a".repeat(8192), ample())).doesNotThrowAnyException();
    assertThatThrownBy(() -> NamePattern.whole("a".repeat(8193), ample()))
        .isInstanceOf(PatternSyntaxException.class)
        .hasMessageContaining("longer than 8192");
    assertThatThrownBy(() -> NamePattern.suffix("a".repeat(8193), ample()))
        .isInstanceOf(PatternSyntaxException.class);
    assertThatThrownBy(() -> NamePattern.whole("(", ample()))
        .isInstanceOf(PatternSyntaxException.class);
  }

  @Test
  void shownAsWritten() {
    assertThat(NamePattern.suffix("a|b", ample())).hasToString("a|b");
  }
}
