package io.github.moelora.peft.names;

import io.github.moelora.peft.names.NameRegex.Accept;
import io.github.moelora.peft.names.NameRegex.Ahead;
import io.github.moelora.peft.names.NameRegex.Condition;
import io.github.moelora.peft.names.NameRegex.Fork;
import io.github.moelora.peft.names.NameRegex.Instruction;
import io.github.moelora.peft.names.NameRegex.One;
import io.github.moelora.peft.names.NameRegex.Where;
import java.util.ArrayList;
import java.util.BitSet;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.function.IntPredicate;
import java.util.regex.PatternSyntaxException;

/**
 * Compiles what Python's {@code re} understands, since that is what PEFT hands an expression to,
 * but for what would need to remember captured text or the order of trials: back references,
 * conditionals, look-behinds, atomic groups and possessive quantifiers. Used once per expression.
 */
final class RegexParser {
  private static final int MAX_DEPTH = 64;

  /** Instructions and repetitions of an expression, all copies counted. */
  private static final int MAX_SIZE = 1 << 14;

  private static final int WITHOUT_LIMIT = -1;

  /** Part of an expression; appends its instructions to a program each time that it is asked. */
  private interface Node {
    void emit(List<Instruction> program);
  }

  private final String text;
  private int at;
  private int depth;
  private int size;
  private boolean ignoreCase;
  private boolean dotAll;

  private RegexParser(String text) {
    this.text = text;
  }

  /**
   * Compiles an expression.
   *
   * @throws PatternSyntaxException if it is none, too large, or of a kind that is not supported
   */
  static NameRegex compile(String text) {
    RegexParser parser = new RegexParser(text);
    parser.flags();
    Node root = parser.alternatives();
    if (parser.at < text.length()) {
      throw parser.fault("unbalanced parenthesis");
    }
    return parser.assemble(root);
  }

  private PatternSyntaxException fault(String what) {
    return new PatternSyntaxException(what, text, at);
  }

  private NameRegex assemble(Node root) {
    List<Instruction> program = new ArrayList<>();
    root.emit(program);
    program.add(new Accept());
    return new NameRegex(program);
  }

  private void add(List<Instruction> program, Instruction instruction) {
    grow();
    program.add(instruction);
  }

  private void grow() {
    if (++size > MAX_SIZE) {
      throw fault("larger than %d steps".formatted(MAX_SIZE));
    }
  }

  private boolean hasMore() {
    return at < text.length();
  }

  private boolean accept(String expected) {
    boolean found = text.startsWith(expected, at);
    if (found) {
      at += expected.length();
    }
    return found;
  }

  private char next() {
    if (!hasMore()) {
      throw fault("unexpected end");
    }
    return text.charAt(at++);
  }

  /** Flags of the whole expression, which can stand at its start only. */
  private void flags() {
    int end = text.indexOf(')');
    if (end > 2 && text.startsWith("(?") && text.substring(2, end).matches("[aisu]+")) {
      ignoreCase = text.substring(0, end).contains("i");
      dotAll = text.substring(0, end).contains("s");
      at = end + 1;
    }
  }

  private Node alternatives() {
    List<Node> alternatives = new ArrayList<>();
    do {
      alternatives.add(sequence());
    } while (accept("|"));
    return program -> emitAlternatives(alternatives, program);
  }

  private void emitAlternatives(List<Node> alternatives, List<Instruction> program) {
    List<Integer> exits = new ArrayList<>();
    for (int i = 0; i < alternatives.size() - 1; i++) {
      int fork = program.size();
      add(program, new Accept());
      alternatives.get(i).emit(program);
      exits.add(program.size());
      add(program, new Accept());
      program.set(fork, new Fork(fork + 1, program.size()));
    }
    alternatives.getLast().emit(program);
    for (int exit : exits) {
      program.set(exit, new Fork(program.size(), program.size()));
    }
  }

  private Node sequence() {
    List<Node> nodes = new ArrayList<>();
    while (hasMore() && text.charAt(at) != '|' && text.charAt(at) != ')') {
      nodes.add(quantified());
    }
    return program -> nodes.forEach(node -> node.emit(program));
  }

  private Node quantified() {
    Node atom = atom();
    int start = at;
    int least;
    int most;
    if (accept("*")) {
      least = 0;
      most = WITHOUT_LIMIT;
    } else if (accept("+")) {
      least = 1;
      most = WITHOUT_LIMIT;
    } else if (accept("?")) {
      least = 0;
      most = 1;
    } else if (startsBraces()) {
      at++;
      least = hasDigit() ? number() : 0;
      most = accept(",") ? (hasDigit() ? number() : WITHOUT_LIMIT) : least;
      at++;
    } else {
      return atom;
    }
    if (most != WITHOUT_LIMIT && most < least) {
      at = start;
      throw fault("the least number of repetitions is more than the most");
    }
    if (!accept("?") && accept("+")) {
      throw fault("possessive quantifiers are not supported");
    }
    if (hasMore() && ("*+?".indexOf(text.charAt(at)) >= 0 || startsBraces())) {
      throw fault("multiple repeat");
    }
    return program -> emitRepetition(atom, least, most, program);
  }

  /** Whether a quantifier in braces stands here; otherwise a brace is a character like others. */
  private boolean startsBraces() {
    int end = at + 1;
    int digits = 0;
    int commas = 0;
    while (end < text.length() && (isDigit(text.charAt(end)) || text.charAt(end) == ',')) {
      if (text.charAt(end) == ',') {
        commas++;
      } else {
        digits++;
      }
      end++;
    }
    return at < end - 1
        && text.charAt(at) == '{'
        && end < text.length()
        && text.charAt(end) == '}'
        && commas < 2
        && digits + commas > 0;
  }

  private static boolean isDigit(char c) {
    return c >= '0' && c <= '9';
  }

  private boolean hasDigit() {
    return hasMore() && isDigit(text.charAt(at));
  }

  private int number() {
    int start = at;
    while (hasDigit()) {
      at++;
    }
    String digits = text.substring(start, at);
    if (digits.length() > 5) {
      throw fault("larger than %d steps".formatted(MAX_SIZE));
    }
    return Integer.parseInt(digits);
  }

  private void emitRepetition(Node atom, int least, int most, List<Instruction> program) {
    for (int i = 0; i < least; i++) {
      // a repetition of nothing is work, too
      grow();
      atom.emit(program);
    }
    if (most == WITHOUT_LIMIT) {
      int fork = program.size();
      add(program, new Accept());
      atom.emit(program);
      add(program, new Fork(fork, fork));
      program.set(fork, new Fork(fork + 1, program.size()));
      return;
    }
    List<Integer> forks = new ArrayList<>();
    for (int i = least; i < most; i++) {
      forks.add(program.size());
      add(program, new Accept());
      atom.emit(program);
    }
    for (int fork : forks) {
      program.set(fork, new Fork(fork + 1, program.size()));
    }
  }

  private Node atom() {
    char c = next();
    return switch (c) {
      case '(' -> group();
      case '[' -> one(characterClass());
      case '.' -> dotAll ? one(any -> true) : one(any -> any != '\n');
      case '^' -> where((name, place) -> place == 0);
      case '$' ->
          where(
              (name, place) ->
                  place == name.length()
                      || (place == name.length() - 1 && name.charAt(place) == '\n'));
      case '\\' -> escape();
      case '*', '+', '?' -> {
        at--;
        throw fault("nothing to repeat");
      }
      default -> one(literal(c));
    };
  }

  private IntPredicate literal(int c) {
    return foldCase(other -> other == c);
  }

  private IntPredicate foldCase(IntPredicate test) {
    return ignoreCase
        ? c -> test.test(Character.toLowerCase(c)) || test.test(Character.toUpperCase(c))
        : test;
  }

  private Node one(IntPredicate test) {
    return program -> add(program, new One(test));
  }

  private Node where(Condition condition) {
    if (hasMore() && ("*+?".indexOf(text.charAt(at)) >= 0 || startsBraces())) {
      throw fault("nothing to repeat");
    }
    return program -> add(program, new Where(condition));
  }

  private Node group() {
    if (++depth > MAX_DEPTH) {
      throw fault("nested too deeply");
    }
    Node group;
    if (accept("?=")) {
      group = ahead(true);
    } else if (accept("?!")) {
      group = ahead(false);
    } else if (accept("?#")) {
      while (hasMore() && text.charAt(at) != ')') {
        at++;
      }
      group = program -> {};
    } else {
      if (accept("?P<")) {
        name();
      } else if (!accept("?:") && hasMore() && text.charAt(at) == '?') {
        throw fault("a group of a kind that is not supported");
      }
      group = alternatives();
    }
    if (!accept(")")) {
      throw fault("missing )");
    }
    depth--;
    return group;
  }

  private void name() {
    int start = at;
    while (next() != '>') {
      if (!Character.isJavaIdentifierPart(text.charAt(at - 1))) {
        throw fault("bad group name");
      }
    }
    if (at == start + 1 || isDigit(text.charAt(start))) {
      throw fault("bad group name");
    }
  }

  private Node ahead(boolean wanted) {
    Node inner = alternatives();
    return program -> add(program, new Ahead(assemble(inner), wanted));
  }

  private static boolean isWord(int c) {
    return Character.isLetterOrDigit(c) || c == '_';
  }

  private static boolean isBoundary(String name, int place) {
    boolean before = place > 0 && isWord(name.charAt(place - 1));
    boolean after = place < name.length() && isWord(name.charAt(place));
    return before != after;
  }

  private Node escape() {
    char c = next();
    return switch (c) {
      case 'A' -> where((name, place) -> place == 0);
      case 'Z' -> where((name, place) -> place == name.length());
      case 'b' -> where(RegexParser::isBoundary);
      case 'B' -> where((name, place) -> !isBoundary(name, place));
      default -> one(escaped(c));
    };
  }

  /** An escape that stands for characters, in a class or not. */
  private IntPredicate escaped(char c) {
    return switch (c) {
      case 'd' -> Character::isDigit;
      case 'D' -> other -> !Character.isDigit(other);
      case 's' -> Character::isWhitespace;
      case 'S' -> other -> !Character.isWhitespace(other);
      case 'w' -> RegexParser::isWord;
      case 'W' -> other -> !isWord(other);
      default -> literal(escapedCharacter(c));
    };
  }

  private int escapedCharacter(char c) {
    return switch (c) {
      case 'n' -> '\n';
      case 't' -> '\t';
      case 'r' -> '\r';
      case 'f' -> '\f';
      case 'v' -> 0x0b;
      case 'a' -> 0x07;
      case 'x' -> hexadecimal(2);
      case 'u' -> hexadecimal(4);
      default -> {
        if (isDigit(c)) {
          throw fault("back references and octal escapes are not supported");
        }
        if (isWord(c) && c != '_') {
          throw fault("bad escape");
        }
        yield c;
      }
    };
  }

  private int hexadecimal(int digits) {
    int value = 0;
    for (int i = 0; i < digits; i++) {
      int digit = Character.digit(next(), 16);
      if (digit < 0) {
        throw fault("bad escape");
      }
      value = 16 * value + digit;
    }
    return value;
  }

  private IntPredicate characterClass() {
    boolean negated = accept("^");
    BitSet members = new BitSet();
    Map<Character, IntPredicate> kinds = new HashMap<>();
    int start = at;
    while (at == start || text.charAt(at) != ']') {
      char c = next();
      if (c == '\\' && startsKind()) {
        char kind = next();
        kinds.put(kind, escaped(kind));
        requireNoRange();
      } else {
        int first = c == '\\' ? classCharacter() : c;
        members.set(first, (isRange() ? lastOfRange(first) : first) + 1);
      }
      if (!hasMore()) {
        throw fault("unterminated character set");
      }
    }
    at++;
    // at most six kinds, so a look at a character takes a bounded time
    List<IntPredicate> others = List.copyOf(kinds.values());
    IntPredicate all =
        foldCase(c -> members.get(c) || others.stream().anyMatch(kind -> kind.test(c)));
    return negated ? all.negate() : all;
  }

  private boolean startsKind() {
    return hasMore() && "dDsSwW".indexOf(text.charAt(at)) >= 0;
  }

  /** In a class {@code \b} is a backspace. */
  private int classCharacter() {
    char c = next();
    return c == 'b' ? '\b' : escapedCharacter(c);
  }

  private boolean isRange() {
    return at + 1 < text.length() && text.charAt(at) == '-' && text.charAt(at + 1) != ']';
  }

  private void requireNoRange() {
    if (isRange()) {
      throw fault("bad character range");
    }
  }

  private int lastOfRange(int first) {
    at++;
    char c = next();
    if (c == '\\' && startsKind()) {
      throw fault("bad character range");
    }
    int last = c == '\\' ? classCharacter() : c;
    if (last < first) {
      throw fault("bad character range");
    }
    return last;
  }
}
