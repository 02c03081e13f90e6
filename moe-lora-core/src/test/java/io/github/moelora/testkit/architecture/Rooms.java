package io.github.moelora.testkit.architecture;

import com.tngtech.archunit.core.domain.Dependency;
import com.tngtech.archunit.core.domain.JavaClass;
import com.tngtech.archunit.core.domain.JavaClasses;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;

/**
 * The packages of a module and which of them each may use. A room can use only rooms that stand
 * before it, so there are no circles but those that {@link #circle} names.
 *
 * <pre>{@code
 * Rooms.below("io.github.moelora.tornado")
 *     .room("device")
 *     .room("layout", "device")
 *     .room("", "device", "layout");        // the base package itself
 * }</pre>
 */
public final class Rooms {
  private final String base;
  private final Map<String, Set<String>> uses = new LinkedHashMap<>();

  private Rooms(String base) {
    this.base = base;
  }

  /**
   * A table without rooms.
   *
   * @param basePackage the package whose sub-packages are rooms
   */
  public static Rooms below(String basePackage) {
    return new Rooms(basePackage);
  }

  /**
   * Adds a room.
   *
   * @param name what follows the base package, such as {@code cli.golden}; empty for the base
   *     package itself
   * @param mayUse rooms that were added before
   * @throws IllegalArgumentException if a name is unknown or was added before
   */
  public Rooms room(String name, String... mayUse) {
    for (String used : mayUse) {
      requireRoom(used);
    }
    if (uses.put(name, new LinkedHashSet<>(List.of(mayUse))) != null) {
      throw new IllegalArgumentException("name must be added once, got twice " + name);
    }
    return this;
  }

  /**
   * Lets a room use one that was added after it.
   *
   * @param reason why the circle is better than what would avoid it
   * @throws IllegalArgumentException if a name is unknown, or without a reason
   */
  public Rooms circle(String from, String to, String reason) {
    requireRoom(from);
    requireRoom(to);
    if (reason.isBlank()) {
      throw new IllegalArgumentException("reason must be given for " + from + " -> " + to);
    }
    uses.getOrDefault(from, Set.of()).add(to);
    return this;
  }

  private void requireRoom(String name) {
    if (!uses.containsKey(name)) {
      throw new IllegalArgumentException(
          "room must be one of %s, got %s".formatted(uses.keySet(), name));
    }
  }

  /**
   * Checks what classes use, as their class files tell.
   *
   * @throws AssertionError naming each arrow that the table lacks, and packages that are no room
   */
  public void check(JavaClasses classes) {
    Set<String> faults = new TreeSet<>();
    for (JavaClass each : classes) {
      for (Dependency dependency : each.getDirectDependenciesFromSelf()) {
        JavaClass target = dependency.getTargetClass().getBaseComponentType();
        judge(
            each.getPackageName(),
            target.getPackageName(),
            "%s uses %s".formatted(each.getName(), target.getName()),
            faults);
      }
    }
    refuse(faults);
  }

  /**
   * Checks the import lines, which also show what javac inlines and what only comments name.
   *
   * @throws AssertionError naming each arrow that the table lacks, and packages that are no room
   */
  public void checkImports(Sources sources) {
    Set<String> faults = new TreeSet<>();
    for (Sources.Import each : sources.imports()) {
      judge(
          each.packageName(),
          packageOf(each.imported()),
          "%s imports %s".formatted(each.place(), each.imported()),
          faults);
    }
    refuse(faults);
  }

  /**
   * Checks that the table allows no more than is used.
   *
   * @param sources those of all rooms, with or without {@code classes}
   * @throws AssertionError naming each arrow that neither a class nor an import needs
   */
  public void checkNeeded(JavaClasses classes, Sources... sources) {
    Set<List<String>> needed = new HashSet<>();
    for (JavaClass each : classes) {
      for (Dependency dependency : each.getDirectDependenciesFromSelf()) {
        JavaClass target = dependency.getTargetClass().getBaseComponentType();
        needed.add(List.of(each.getPackageName(), target.getPackageName()));
      }
    }
    for (Sources some : sources) {
      some.imports()
          .forEach(each -> needed.add(List.of(each.packageName(), packageOf(each.imported()))));
    }
    Set<String> faults = new TreeSet<>();
    uses.forEach(
        (from, allowed) -> {
          for (String to : allowed) {
            if (!needed.contains(List.of(packageName(from), packageName(to)))) {
              faults.add(
                  "room '%s' uses nothing of '%s': delete it from the row".formatted(from, to));
            }
          }
        });
    refuse(faults);
  }

  /** By convention packages are in lower case and types are not. */
  private static String packageOf(String imported) {
    List<String> parts = new ArrayList<>();
    for (String part : imported.split("\\.", -1)) {
      if (part.equals("*") || Character.isUpperCase(part.charAt(0))) {
        break;
      }
      parts.add(part);
    }
    return String.join(".", parts);
  }

  private void judge(String fromPackage, String toPackage, String what, Set<String> faults) {
    if (isOutside(fromPackage) || isOutside(toPackage) || fromPackage.equals(toPackage)) {
      return;
    }
    String from = name(fromPackage);
    String to = name(toPackage);
    Set<String> allowed = uses.get(from);
    if (allowed == null || !uses.containsKey(to)) {
      faults.add(
          "%s: package %s must be in the table of rooms: add it below those that it uses"
              .formatted(what, allowed == null ? fromPackage : toPackage));
    } else if (!allowed.contains(to)) {
      faults.add(
          "%s, but room '%s' may use %s alone: move what is used to one of these, or hand it over as a parameter or interface"
              .formatted(what, from, allowed));
    }
  }

  private boolean isOutside(String packageName) {
    return !packageName.equals(base) && !packageName.startsWith(base + ".");
  }

  private String name(String packageName) {
    return packageName.equals(base) ? "" : packageName.substring(base.length() + 1);
  }

  private String packageName(String name) {
    return name.isEmpty() ? base : base + "." + name;
  }

  private static void refuse(Set<String> faults) {
    if (!faults.isEmpty()) {
      throw new AssertionError(String.join(System.lineSeparator(), faults));
    }
  }
}
