package io.github.moelora.peft.names;

import com.code_intelligence.jazzer.api.FuzzedDataProvider;
import com.code_intelligence.jazzer.junit.FuzzTest;
import io.github.moelora.testkit.Choices;
import java.util.List;
import java.util.regex.PatternSyntaxException;

/** Any expression is compiled or refused, and any match ends within the steps that it may take. */
final class RegexFuzzTest {
  private static final List<String> PIECES =
      List.of(
          "a", "b", ".", "\\.", "(", ")", "(?:", "(?=", "(?!", "(?P<n>", "|", "*", "+", "?", "{2}",
          "{,3}", "{2,}", "{99}", "[", "]", "[^", "-", "^", "$", "\\b", "\\B", "\\d", "\\W", "\\",
          "\\x41", "(?i)", "(?#");

  @FuzzTest
  void isCompiledOrRefused(FuzzedDataProvider data) {
    Choices choices = new Choices(data);
    StringBuilder regex = new StringBuilder();
    for (int i = choices.number(0, 24); i > 0; i--) {
      regex.append(choices.rarely(10) ? choices.text(3) : choices.oneOf(PIECES));
    }
    String name = choices.rarely(2) ? "a".repeat(choices.number(0, 40)) : choices.text(40);
    NamePattern.Budget budget = new NamePattern.Budget(1 << 24);
    try {
      NamePattern.whole(regex.toString(), budget).matches(name);
      NamePattern.suffix(regex.toString(), budget).matches(name);
    } catch (PatternSyntaxException | NamePattern.ExhaustedException e) {
      // both are refusals
    }
  }
}
