package io.github.moelora.cli;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.PrintWriter;
import java.io.StringWriter;
import java.util.Locale;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

final class OutputTest {

  @ParameterizedTest
  @CsvSource({
    "0, 0",
    "0.013712, 0.0137",
    "1, 1.00",
    "9.994, 9.99",
    "12.34, 12.3",
    "123.4, 123",
    "1234567, 1234567"
  })
  void numbersHaveThreeDigits(double value, String text) {
    assertThat(Output.number(value)).isEqualTo(text);
  }

  @ParameterizedTest
  @CsvSource({"0, 0 B", "1023, 1023 B", "1024, 1.0 KiB", "69206016, 66.0 MiB", "2e15, 1819.0 TiB"})
  void bytesHaveAUnit(double value, String text) {
    assertThat(Output.bytes(value)).isEqualTo(text);
  }

  @Test
  void numbersLookTheSameInEveryLocale() {
    Locale before = Locale.getDefault();
    Locale.setDefault(Locale.GERMANY);
    try {
      assertThat(Output.number(1.5)).isEqualTo("1.50");
      assertThat(Output.bytes(1536)).isEqualTo("1.5 KiB");
    } finally {
      Locale.setDefault(before);
    }
  }

  @Test
  void aTableAlignsNumbersToTheRight() {
    StringWriter out = new StringWriter();
    new TextTable("name", "size", "note")
        .row("a", "1.50", "x")
        .row("long name", "12.0", "")
        .print(new PrintWriter(out, true));
    assertThat(out.toString().lines())
        .containsExactly("name       size  note", "a          1.50  x", "long name  12.0");
  }
}
