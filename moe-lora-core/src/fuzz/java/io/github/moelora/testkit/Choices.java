package io.github.moelora.testkit;

import com.code_intelligence.jazzer.api.FuzzedDataProvider;
import java.util.List;
import java.util.Random;

/**
 * Choices of a fuzzer, and random ones once its input is used up, so that short inputs, with which
 * a fuzzer begins, reach as deep as long ones.
 */
public final class Choices {
  private static final List<String> SNIPPETS =
      List.of(
          "{",
          "}",
          "[",
          "]",
          ",",
          ":",
          "\"",
          "\\",
          "\\u0000",
          "\\ud800",
          "null",
          "true",
          "-1",
          "0",
          "1e999",
          "9223372036854775807",
          "9223372036854775808",
          "18446744073709551615",
          "NaN",
          "\"r\":1",
          "\"__metadata__\":{}",
          "\u0000",
          "\uFEFF",
          " ",
          "F16",
          "BF16",
          "F64",
          "BOOL");

  private final FuzzedDataProvider data;
  private final Random random;

  public Choices(FuzzedDataProvider data) {
    this.data = data;
    this.random = new Random(data.consumeLong());
  }

  private boolean isUsedUp() {
    return data.remainingBytes() == 0;
  }

  /** A number in {@code [least, most]}. */
  public int number(int least, int most) {
    return isUsedUp() ? random.nextInt(least, most + 1) : data.consumeInt(least, most);
  }

  public <T> T oneOf(List<T> values) {
    return values.get(number(0, values.size() - 1));
  }

  /** True once in so many times. */
  public boolean rarely(int times) {
    return number(1, times) == times;
  }

  public String text(int length) {
    if (!isUsedUp()) {
      return data.consumeString(length);
    }
    StringBuilder text = new StringBuilder();
    for (int i = random.nextInt(length + 1); i > 0; i--) {
      text.append((char) random.nextInt(rarely(8) ? 1 << 16 : 128));
    }
    return text.toString();
  }

  public byte[] rest() {
    return data.consumeRemainingAsBytes();
  }

  /** A sound text with up to four pieces cut out, doubled or put in. */
  public String mutated(String sound) {
    StringBuilder text = new StringBuilder(sound);
    for (int i = number(0, 4); i > 0; i--) {
      int from = number(0, text.length());
      int to = Math.min(text.length(), from + number(0, 16));
      switch (number(0, 3)) {
        case 0 -> text.delete(from, to);
        case 1 -> text.insert(from, text.substring(from, to));
        case 2 -> text.insert(from, oneOf(SNIPPETS));
        default -> text.replace(from, to, text(8));
      }
    }
    return text.toString();
  }
}
