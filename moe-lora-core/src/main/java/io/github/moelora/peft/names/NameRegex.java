package io.github.moelora.peft.names;

import java.util.List;
import java.util.function.IntPredicate;

/**
 * A compiled regular expression. A match follows all ways through the expression at once, so it
 * takes at most size times length steps whatever the expression is; an engine that tries one way
 * after the other, as Java's, can be made to run for years by 30 characters. What Python could
 * capture is of no interest here, so neither is the order in which it would try the ways.
 */
final class NameRegex {

  /** One instruction. */
  sealed interface Instruction {}

  /** Goes on behind a character that passes the test. */
  record One(IntPredicate test) implements Instruction {}

  /** Goes on at either place; a fork with twice the same place is a jump. */
  record Fork(int first, int second) implements Instruction {}

  /** Goes on where a condition on the place in the text holds. */
  record Where(Condition condition) implements Instruction {}

  /** Goes on where the text from here begins with a match, or does not. */
  record Ahead(NameRegex regex, boolean wanted) implements Instruction {}

  /** The end of the expression. */
  record Accept() implements Instruction {}

  /** Whether a condition holds before a character of a text. */
  interface Condition {
    boolean holds(String text, int at);
  }

  private final List<Instruction> program;

  NameRegex(List<Instruction> program) {
    this.program = List.copyOf(program);
  }

  /**
   * Whether the expression matches from a place on.
   *
   * @param whole whether the match must reach the end of the text
   * @param budget pays for every step
   * @throws NamePattern.ExhaustedException if the steps are more than the budget has left
   */
  boolean matches(String text, int from, boolean whole, NamePattern.Budget budget) {
    // the new arrays are work, too
    budget.spend(program.size() / 16);
    Places now = new Places(program.size());
    Places next = new Places(program.size());
    now.reach(0);
    for (int at = from; at <= text.length() && now.count > 0; at++) {
      for (int i = 0; i < now.count; i++) {
        budget.spend(1);
        int place = now.places[i];
        switch (program.get(place)) {
          case One one -> {
            if (at < text.length() && one.test().test(text.charAt(at))) {
              next.reach(place + 1);
            }
          }
          case Fork fork -> {
            now.reach(fork.first());
            now.reach(fork.second());
          }
          case Where where -> {
            if (where.condition().holds(text, at)) {
              now.reach(place + 1);
            }
          }
          case Ahead ahead -> {
            if (ahead.regex().matches(text, at, false, budget) == ahead.wanted()) {
              now.reach(place + 1);
            }
          }
          case Accept accept -> {
            if (!whole || at == text.length()) {
              return true;
            }
          }
        }
      }
      Places behind = now;
      now = next;
      next = behind;
      next.clear();
    }
    return false;
  }

  /** Places in the program that are reached, each once. */
  private static final class Places {
    private final int[] places;
    private final boolean[] reached;
    private int count;

    Places(int size) {
      places = new int[size];
      reached = new boolean[size];
    }

    void reach(int place) {
      if (!reached[place]) {
        reached[place] = true;
        places[count++] = place;
      }
    }

    void clear() {
      for (int i = 0; i < count; i++) {
        reached[places[i]] = false;
      }
      count = 0;
    }
  }
}
