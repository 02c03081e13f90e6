package io.github.moelora.testkit.architecture;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.function.ToIntFunction;

/** A number that methods must not exceed, but for exceptions by name, each with its reason. */
public final class MethodLimit {
  private final String what;
  private final int most;
  private final ToIntFunction<Sources.Method> measure;
  private final String remedy;
  private final Map<String, String> exceptions = new HashMap<>();

  private MethodLimit(String what, int most, ToIntFunction<Sources.Method> measure, String remedy) {
    this.what = what;
    this.most = most;
    this.measure = measure;
    this.remedy = remedy;
  }

  /** Limits the lines of a method, see {@link Sources.Method#lines}. */
  public static MethodLimit lines(int most) {
    return new MethodLimit(
        "lines",
        most,
        Sources.Method::lines,
        "name its steps and move each to a method of its own");
  }

  /** Limits the parameters of a method. */
  public static MethodLimit parameters(int most) {
    return new MethodLimit(
        "parameters",
        most,
        Sources.Method::parameters,
        "put those that travel together into a record, or into fields of an object that is filled"
            + " once");
  }

  /**
   * Lets methods exceed the limit.
   *
   * @param method {@code Type.name}, all its overloads
   * @param reason why it is better so
   * @throws IllegalArgumentException for a second exception of that name, or without a reason
   */
  public MethodLimit except(String method, String reason) {
    if (reason.isBlank()) {
      throw new IllegalArgumentException("reason must be given for " + method);
    }
    if (exceptions.put(method, reason) != null) {
      throw new IllegalArgumentException("method must be excepted once, got twice " + method);
    }
    return this;
  }

  /**
   * Checks methods.
   *
   * @throws AssertionError naming each method that breaks the rule, and what to do; also for
   *     exceptions that no method needs
   */
  public void check(List<Sources.Method> methods) {
    List<String> faults = new ArrayList<>();
    Set<String> needed = new HashSet<>();
    for (Sources.Method method : methods) {
      int number = measure.applyAsInt(method);
      if (number > most && exceptions.containsKey(method.key())) {
        needed.add(method.key());
      } else if (number > most) {
        faults.add(
            "%s: %s must have at most %d %s, got %d: %s"
                .formatted(method.place(), method.key(), most, what, number, remedy));
      }
    }
    for (String exception : exceptions.keySet()) {
      if (!needed.contains(exception)) {
        faults.add(
            "%s: no method of that name has more than %d %s: delete the exception"
                .formatted(exception, most, what));
      }
    }
    if (!faults.isEmpty()) {
      throw new AssertionError(String.join(System.lineSeparator(), faults));
    }
  }
}
