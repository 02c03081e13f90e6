package io.github.moelora.peft.names;

import java.util.ArrayList;
import java.util.BitSet;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.regex.PatternSyntaxException;
import org.jspecify.annotations.Nullable;

/**
 * Values under expressions, as {@code rank_pattern} and {@code alpha_pattern} have them; the first
 * expression that matches a name counts.
 *
 * <p>Programs write such tables with an entry for each of 18,432 expert modules, so a name is not
 * tried on every entry: expressions of literal characters and dots are grouped by their length and
 * by where they have dots, which stand for any character, and a group is one look into a hash map.
 *
 * @param <T> type of the values
 */
public final class NameTable<T> {
  /**
   * What expressions of one group have in common.
   *
   * @param length characters that a match takes
   * @param start where a match may begin in a name
   * @param any positions at which any character stands
   */
  private record Shape(int length, Start start, BitSet any) {

    boolean mayEnd(String name) {
      int from = name.length() - length;
      return switch (start) {
        case NAME -> from == 0;
        case NAME_OR_PART -> from == 0 || isAfterDot(name, from);
        case PART -> isAfterDot(name, from);
      };
    }

    private static boolean isAfterDot(String name, int from) {
      return from > 0 && name.charAt(from - 1) == '.';
    }

    String masked(String name) {
      char[] end = name.substring(name.length() - length).toCharArray();
      any.stream().forEach(i -> end[i] = 0);
      return String.valueOf(end);
    }
  }

  private enum Start {
    NAME,
    NAME_OR_PART,
    PART
  }

  /** An expression that no group takes. */
  private record Other(int index, NamePattern pattern) {}

  private final NamePattern.Budget budget;
  private final List<T> values = new ArrayList<>();
  private final Map<Shape, Map<String, Integer>> groups = new HashMap<>();
  private final List<Other> others = new ArrayList<>();

  /**
   * An empty table.
   *
   * @param budget pays for all look-ups
   */
  public NameTable(NamePattern.Budget budget) {
    this.budget = budget;
  }

  /**
   * Appends an entry.
   *
   * @throws PatternSyntaxException if {@code regex} is no expression
   */
  public void add(String regex, T value) {
    int index = values.size();
    Template template = Template.of(regex);
    if (template == null) {
      others.add(new Other(index, NamePattern.suffix(regex, budget)));
    } else {
      Shape shape = new Shape(template.text.length(), template.start, template.any);
      groups
          .computeIfAbsent(shape, any -> new HashMap<>())
          .putIfAbsent(template.text.toString(), index);
    }
    values.add(value);
  }

  /** Whether there is no entry. */
  public boolean isEmpty() {
    return values.isEmpty();
  }

  /**
   * The value of the first entry whose expression matches a name or what follows a dot in it.
   *
   * @return null if there is none
   * @throws NamePattern.ExhaustedException if that took too much work
   */
  public @Nullable T find(String name) {
    int first = Integer.MAX_VALUE;
    for (Map.Entry<Shape, Map<String, Integer>> group : groups.entrySet()) {
      budget.spend(1);
      if (group.getKey().mayEnd(name)) {
        Integer index = group.getValue().get(group.getKey().masked(name));
        first = index == null ? first : Math.min(first, index);
      }
    }
    for (Other other : others) {
      if (other.index > first) {
        break;
      }
      if (other.pattern.matches(name)) {
        first = other.index;
        break;
      }
    }
    return first == Integer.MAX_VALUE ? null : values.get(first);
  }

  /** An expression of literal characters and dots, with 0 for any character. */
  private static final class Template {
    private final StringBuilder text = new StringBuilder();
    private final BitSet any = new BitSet();
    private Start start = Start.NAME_OR_PART;

    static @Nullable Template of(String regex) {
      Template template = new Template();
      String rest = regex;
      if (rest.startsWith("^")) {
        template.start = Start.NAME;
        rest = rest.substring(1);
      } else if (rest.startsWith(".*\\.")) {
        template.start = Start.PART;
        rest = rest.substring(4);
      }
      if (rest.endsWith("$")) {
        rest = rest.substring(0, rest.length() - 1);
      }
      boolean readable = rest.length() <= NamePattern.MAX_LENGTH && template.read(rest);
      return readable && !template.text.isEmpty() ? template : null;
    }

    private boolean read(String regex) {
      for (int i = 0; i < regex.length(); i++) {
        char c = regex.charAt(i);
        if (c == '.') {
          any.set(text.length());
          text.append('\0');
        } else if (c == '\\' && i + 1 < regex.length() && regex.charAt(i + 1) == '.') {
          text.append('.');
          i++;
        } else if (c == '_' || c == '-' || (c < 0x80 && Character.isLetterOrDigit(c))) {
          text.append(c);
        } else {
          return false;
        }
      }
      return true;
    }
  }
}
