package io.github.moelora.peft.names;

import java.util.regex.Pattern;
import java.util.regex.PatternSyntaxException;

/**
 * A regular expression of a hostile file. Every step of a match is paid from a budget that all
 * expressions of a file share, so that many names and many expressions cannot hang the load.
 */
public final class NamePattern {
  /** Longest expression; the known ones have a few hundred characters. */
  static final int MAX_LENGTH = 8192;

  /** An expression that consists of literal characters and dots. */
  private static final Pattern PLAIN = Pattern.compile("[A-Za-z0-9_.-]+");

  /** Steps that may still be taken. */
  public static final class Budget {
    private long left;

    /** A budget of so many steps, at least 0. */
    public Budget(long steps) {
      left = steps;
    }

    /**
     * Pays for some work.
     *
     * @throws ExhaustedException if fewer steps are left
     */
    public void spend(long steps) {
      left -= steps;
      if (left < 0) {
        throw new ExhaustedException();
      }
    }
  }

  /** An expression takes too much work. */
  public static final class ExhaustedException extends RuntimeException {
    private static final long serialVersionUID = 1;

    ExhaustedException() {
      super("the budget is used up", null, false, false);
    }
  }

  private final String text;
  private final boolean suffix;
  private final boolean plain;

  /** What every match ends with; may be empty. */
  private final String tail;

  private final NameRegex regex;
  private final Budget budget;

  private NamePattern(String text, boolean suffix, NameRegex regex, Budget budget) {
    this.text = text;
    this.suffix = suffix;
    this.plain = PLAIN.matcher(text).matches();
    this.tail = tail(text);
    this.regex = regex;
    this.budget = budget;
  }

  /**
   * An expression for whole names.
   *
   * @throws PatternSyntaxException if it is none
   */
  public static NamePattern whole(String regex, Budget budget) {
    return new NamePattern(regex, false, compile(regex, regex), budget);
  }

  /**
   * An expression for whole names or what follows a dot in them, as keys of {@code rank_pattern}.
   *
   * @throws PatternSyntaxException if it is none
   */
  public static NamePattern suffix(String regex, Budget budget) {
    return new NamePattern(regex, true, compile("(.*\\.)?(" + regex + ")$", regex), budget);
  }

  /**
   * The literal characters at the end of an expression. Those of one branch of an alternative, of
   * an escape, or under a flag that ignores case are not what every match ends with.
   */
  private static String tail(String text) {
    if (text.contains("|") || text.contains("(?")) {
      return "";
    }
    int from = text.length();
    while (from > 0 && isLiteral(text.charAt(from - 1))) {
      from--;
    }
    boolean escaped = from > 0 && text.charAt(from - 1) == '\\';
    return escaped ? "" : text.substring(from);
  }

  private static boolean isLiteral(char c) {
    return c == '_' || (c < 0x80 && Character.isLetterOrDigit(c));
  }

  private static NameRegex compile(String regex, String text) {
    if (text.length() > MAX_LENGTH) {
      throw new PatternSyntaxException("longer than " + MAX_LENGTH, text, -1);
    }
    return RegexParser.compile(regex);
  }

  /**
   * Whether the expression matches.
   *
   * @throws ExhaustedException if that took too much work
   */
  public boolean matches(String name) {
    if (plain) {
      return matchesPlain(name);
    }
    if (!name.endsWith(tail)) {
      budget.spend(1);
      return false;
    }
    return regex.matches(name, 0, !suffix, budget);
  }

  /** The same for an expression in which only the dot is special: it stands for any character. */
  private boolean matchesPlain(String name) {
    budget.spend(1);
    int start = name.length() - text.length();
    if (start != 0 && !(suffix && start > 0 && name.charAt(start - 1) == '.')) {
      return false;
    }
    for (int i = text.length() - 1; i >= 0; i--) {
      char c = text.charAt(i);
      if (c != '.' && c != name.charAt(start + i)) {
        return false;
      }
    }
    return true;
  }

  @Override
  public String toString() {
    return text;
  }
}
