package io.github.moelora.tornado.emulator;

/**
 * A kernel with one seeded bug.
 *
 * @param type name of the class
 * @param method name of the method
 * @param line number of the source line
 * @param source the line's text
 * @param change what is wrong
 * @param count which of the method's mutants of such a line with that same change, from 1
 * @param index which of the class's mutations
 */
public record Mutant(
    String type, String method, int line, String source, String change, int count, int index) {

  /** What names it as long as its line stays the same. */
  public String key() {
    String simple = type.substring(type.lastIndexOf('.') + 1);
    return "%s.%s | %s | %s%s"
        .formatted(simple, method, source, change, count == 1 ? "" : " #" + count);
  }

  @Override
  public String toString() {
    return "%s (line %d)".formatted(key(), line);
  }
}
