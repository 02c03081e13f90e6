package io.github.moelora.peft.names;

import static org.assertj.core.api.Assertions.assertThat;
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
import org.junit.jupiter.params.provider.ValueSource;

/** Expressions as Python reads them. */
final class NameRegexTest {
  private static boolean matches(String regex, String text) {
    return RegexParser.compile(regex).matches(text, 0, true, new Budget(1_000_000));
  }

  private static boolean begins(String regex, String text) {
    return RegexParser.compile(regex).matches(text, 0, false, new Budget(1_000_000));
  }

  @ParameterizedTest
  @CsvSource({
    "'', ''",
    "a, a",
    "ab|c, c",
    "ab|c, ab",
    "a|, ''",
    "(a|b)c, bc",
    "(?:a|b)c, ac",
    "(?P<name_1>a)b, ab",
    "a(?#remark)b, ab",
    ".b, xb",
    "a*, ''",
    "a*, aaa",
    "a+, aa",
    "a?b, b",
    "a?b, ab",
    "a*?b, aab",
    "a+?, a",
    "a??, ''",
    "a{2}, aa",
    "a{00002}, aa",
    "[a-a], a",
    "'a{1,2}', a",
    "'a{1,2}', aa",
    "'a{2,}', aaaa",
    "'a{,2}', ''",
    "'a{,2}', aa",
    "'a{,}', aaa",
    "a{0}b, b",
    "(ab){2}, abab",
    "'(a|b){2,3}?', bab",
    "'a{x}', 'a{x}'",
    "'a{', 'a{'",
    "'{1', '{1'",
    "'a{}', 'a{}'",
    "'a{1,2,3}', 'a{1,2,3}'",
    "[abc], b",
    "[a-c], b",
    "[^a-c], d",
    "[]a], ]",
    "[^]a], b",
    "[a-], -",
    "[-a], -",
    "[--a], 0",
    "'[[]', '['",
    "[\\x41-\\x43], B",
    "'a{1', 'a{1'",
    "'a{1x}', 'a{1x}'",
    "'{,', '{,'",
    "'[a&&b]', '&'",
    "[\\d_], 7",
    "[\\D], x",
    "[\\]], ]",
    "[\\-a], -",
    "[\\x41-C], B",
    "[\\w.]+, a_1.b",
    "[^\\W\\d]+, ab",
    "[\\s\\S], x",
    "\\d+, 123",
    "\\D, a",
    "\\w+, a_9",
    "\\W, -",
    "\\S, a",
    "a\\.b, a.b",
    "\\(\\)\\[\\]\\{\\}, ()[]{}",
    "\\x41, A",
    "\\u0041, A",
    "\\_, _",
    "\\/, /",
    "\\-, -",
    "\\|, |",
    "^a$, a",
    "\\Aa\\Z, a",
    "a\\b.b, a.b",
    "a\\Bb, ab",
    "\\ba, a",
    "a\\b, a",
    "\\B-\\B, -",
    "(^a|b)c, ac",
    "(a$|ab), ab",
    "a(?=b)b, ab",
    "a(?!c)b, ab",
    "(?=ab)a., ab",
    "(?!ab)a., ac",
    "(?=.*z)[a-z]+, xyz",
    "(?!(?=a)b)a, a",
    "(?=a){2}a, a",
    "(?!b)*a, a",
    "(?i)aBc, AbC",
    "(?i)[a-c]+, ABC",
    "(?is)a, A",
    "(?u)a, a",
    "model\\.layers\\.(1[0-9]|2\\d)\\..*, model.layers.23.x",
    "^(language_model(?=\\.).*\\.(gate_proj|up_proj))$, language_model.a.up_proj",
    "(?:.*?(?:vision|language).*?(?:mlp|attn).*?(?:k_proj|up_proj).*?), a.language.b.mlp.up_proj",
    "'(?:\\bmodel\\.layers\\.[\\d]{1,}\\.(?:mlp|ffn)\\.(?:(?:up_proj)))',"
        + " 'model.layers.3.mlp.up_proj'",
  })
  void matchesWhole(String regex, String text) {
    assertThat(matches(regex, text)).as("%s on %s", regex, text).isTrue();
  }

  @ParameterizedTest
  @CsvSource({
    "'', a",
    "a, b",
    "a, aa",
    "ab|c, ac",
    "(a|b)c, c",
    "a+, ''",
    "a{2}, a",
    "a{2}, aaa",
    "'a{1,2}', aaa",
    "'a{2,}', a",
    "'a{,2}', aaa",
    "a{0}b, ab",
    "[a-c], d",
    "[^a-c], a",
    "[^a], ''",
    "\\d, a",
    "\\D, 1",
    "\\w, -",
    "\\W, a",
    "\\s, a",
    "\\S, ' '",
    "a\\.b, axb",
    "^b, ab",
    "a^b, ab",
    "a\\Ab, ab",
    "a$b, ab",
    "\\Ab, ab",
    "a\\Zb, ab",
    "a\\bb, ab",
    "a\\B\\.b, a.b",
    "\\B, a",
    "a(?=c)b, ab",
    "a(?!b)b, ab",
    "(?!a)*b, a",
    "aBc, AbC",
    "[a-c], B",
    "., ''",
    "\\A\\Ab, ab",
    "(?i)a, b",
    "(?=.*z)[a-z]+, xy",
    "'[a&&b]', c",
    "(?i)[^a], A",
  })
  void matchesNot(String regex, String text) {
    assertThat(matches(regex, text)).as("%s on %s", regex, text).isFalse();
  }

  @Test
  void controlCharacters() {
    assertThat(matches("\\n\\t\\r\\f\\v\\a", "\n\t\r\f\u000b\u0007")).isTrue();
    assertThat(matches("[\\b\\n]+", "\b\n")).isTrue();
    assertThat(matches(".", "\n")).isFalse();
    assertThat(matches("(?s).", "\n")).isTrue();
    assertThat(matches("[^a]", "\n")).isTrue();
    assertThat(matches("\\s", "\n")).isTrue();
    assertThat(begins("a$", "a\n")).isTrue();
    assertThat(begins("a$", "a\nb")).isFalse();
    assertThat(begins("a$", "a\n\n")).isFalse();
    assertThat(begins("a\\Z", "a\n")).isFalse();
  }

  @Test
  void aBeginningIsEnoughWhereAskedFor() {
    assertThat(begins("a", "ab")).isTrue();
    assertThat(begins("", "ab")).isTrue();
    assertThat(begins("b", "ab")).isFalse();
    assertThat(begins("a|b$", "ax")).isTrue();
    assertThat(RegexParser.compile("b").matches("ab", 1, true, new Budget(100))).isTrue();
    assertThat(RegexParser.compile("^b").matches("ab", 1, true, new Budget(100))).isFalse();
  }

  @ParameterizedTest
  @CsvSource({
    "(, missing )",
    "(a, missing ), ",
    "a), unbalanced parenthesis",
    "), unbalanced parenthesis",
    "(a)), unbalanced",
    "*, nothing to repeat",
    "a|*, nothing to repeat",
    "(+), nothing to repeat",
    "?, nothing to repeat",
    "^*, nothing to repeat",
    "a$?, nothing to repeat",
    "\\b+, nothing to repeat",
    "\\Z{2}, nothing to repeat",
    "a**, multiple repeat",
    "a+*, multiple repeat",
    "a?{2}, multiple repeat",
    "a*??, multiple repeat",
    "a{2}{3}, multiple repeat",
    "a*+, possessive",
    "a?+, possessive",
    "a++, possessive",
    "a{2}+, possessive",
    "'a{3,2}', the least number",
    "a{100000}, larger than 16384 steps",
    "[, unexpected end",
    "[a, unterminated",
    "[], unterminated",
    "[^, unexpected end",
    "[b-a], bad character range",
    "[\\d-z], bad character range",
    "[a-\\d], bad character range",
    "[a-, unterminated",
    "\\, unexpected end",
    "\\1, not supported",
    "\\0, not supported",
    "\\y, bad escape",
    "\\E, bad escape",
    "\\x4, unexpected end",
    "[a\\, unexpected end",
    "[a-\\, unexpected end",
    "\\xzz, bad escape",
    "\\u12, unexpected end",
    "(?P=a), not supported",
    "(?P<>a), bad group name",
    "(?P<1>a), bad group name",
    "(?P<a-b>a), bad group name",
    "(?P<a, unexpected end",
    "(?<=a)b, not supported",
    "(?<!a)b, not supported",
    "(?>a)b, not supported",
    "(?(1)a), not supported",
    "(?m)a, not supported",
    "(?x)a, not supported",
    "(?i:a), not supported",
    "a(?i)b, not supported",
    "(?), not supported",
    "(?#a, missing )",
    "(?=a, missing )",
    "(?!a, missing )",
    "(?:a, missing )",
  })
  void isRefused(String regex, String why) {
    assertThatThrownBy(() -> RegexParser.compile(regex))
        .isInstanceOf(PatternSyntaxException.class)
        .hasMessageContaining(why.strip());
  }

  @Test
  void depthIsBounded() {
    assertThat(matches("(".repeat(64) + "a" + ")".repeat(64), "a")).isTrue();
    assertThat(matches("(a)".repeat(100), "a".repeat(100))).isTrue();
    assertThatThrownBy(() -> RegexParser.compile("(".repeat(65) + "a" + ")".repeat(65)))
        .isInstanceOf(PatternSyntaxException.class)
        .hasMessageContaining("nested too deeply");
    assertThatThrownBy(() -> RegexParser.compile("(?=".repeat(5000)))
        .isInstanceOf(PatternSyntaxException.class)
        .hasMessageContaining("nested too deeply");
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "a{16384}",
        "(a{200}){200}",
        "(){99999}",
        "((((){999}){999}){999}){999}",
        "(a?){16000}",
        "((a{0,99}){0,99}){0,99}",
        "(?=a{9999})(?=a{9999})",
        "((?=a{99}){99}){99}"
      })
  void sizeIsBounded(String regex) {
    assertThatThrownBy(() -> RegexParser.compile(regex))
        .isInstanceOf(PatternSyntaxException.class)
        .hasMessageContaining("larger than 16384 steps");
  }

  @Test
  void theLargestExpressionIsTaken() {
    assertThat(matches("a{8000}", "a".repeat(8000))).isTrue();
    assertThatThrownBy(() -> RegexParser.compile("a{8193}"))
        .isInstanceOf(PatternSyntaxException.class);
    assertThat(matches("[" + "a".repeat(8000) + "b]", "b")).isTrue();
  }

  /** Engines that try one way after the other take from minutes to the age of the universe. */
  @ParameterizedTest
  @ValueSource(
      strings = {
        "(a+)+b",
        "(a|aa)+b",
        "(a|a)*b",
        "(.*)*x",
        "(a?){60}a{60}b",
        "((a+)*)*b",
        "(.*.*.*.*.*.*.*.*)*b",
        "(a*)*(b*)*(c*)*d",
        "a*(|){60}x",
        "(|a|){60}x",
        "(a*|b*){60}x",
        "((){99}){99}x",
        "(?=(a+)+b)a"
      })
  void noExpressionTakesLong(String regex) {
    NameRegex compiled = RegexParser.compile(regex);
    // each place is looked at once for each character
    assertThat(compiled.matches("a".repeat(100), 0, true, new Budget(20_000_000))).isFalse();
  }

  @Test
  void everyStepIsPaid() {
    NameRegex regex = RegexParser.compile("a*");
    // fork, a and accept at each of the four places, and the jump back after each of the three
    Budget budget = new Budget(15);
    assertThat(regex.matches("aaa", 0, true, budget)).isTrue();
    assertThatThrownBy(() -> budget.spend(1)).isInstanceOf(ExhaustedException.class);
    assertThatThrownBy(() -> regex.matches("aaa", 0, true, new Budget(14)))
        .isInstanceOf(ExhaustedException.class);
  }

  @Test
  void theArraysArePaidToo() {
    NameRegex large = RegexParser.compile("b" + "a".repeat(319));
    assertThat(large.matches("c", 0, true, new Budget(21))).isFalse();
    assertThatThrownBy(() -> large.matches("c", 0, true, new Budget(20)))
        .isInstanceOf(ExhaustedException.class);
  }

  @Provide
  Arbitrary<String> expressions() {
    Arbitrary<String> leaf =
        Arbitraries.of("a", "b", ".", "[ab]", "[^b]", "", "\\.", "^", "$", "\\b", "\\w", "\\d");
    return Arbitraries.recursive(
        () -> leaf,
        inner ->
            Arbitraries.oneOf(
                inner.map(e -> "(" + e + ")*"),
                inner.map(e -> "(?:" + e + ")+?"),
                inner.map(e -> "(" + e + ")?"),
                inner.map(e -> "(" + e + "){1,2}"),
                inner.map(e -> "(?=" + e + ")"),
                inner.map(e -> "(?!" + e + ")"),
                inner.flatMap(e -> leaf.map(f -> e + f)),
                inner.flatMap(e -> leaf.map(f -> "(" + e + "|" + f + ")")),
                inner.flatMap(e -> leaf.map(f -> f + e))),
        0,
        4);
  }

  @Provide
  Arbitrary<String> words() {
    return Arbitraries.strings().withChars('a', 'b', '.').ofMaxLength(6);
  }

  /** Where both understand an expression, Java's engine says the same. */
  @Property(tries = 3000)
  void javaAgrees(@ForAll("expressions") String regex, @ForAll("words") String text) {
    assertThat(matches(regex, text)).isEqualTo(Pattern.matches(regex, text));
    assertThat(begins(regex, text)).isEqualTo(Pattern.compile(regex).matcher(text).lookingAt());
  }
}
