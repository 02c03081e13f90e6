package io.github.moelora.testkit.architecture;

import ch.qos.logback.classic.Level;
import ch.qos.logback.classic.Logger;
import com.tngtech.archunit.core.domain.JavaClasses;
import com.tngtech.archunit.core.importer.ClassFileImporter;
import java.net.URISyntaxException;
import java.nio.file.Path;
import java.util.Objects;
import org.slf4j.LoggerFactory;

/** The compiled classes of a module. */
public final class ModuleClasses {
  private ModuleClasses() {}

  /** The folder that a class of the module was loaded from. */
  public static Path folder(Class<?> member) {
    try {
      return Path.of(
          Objects.requireNonNull(member.getProtectionDomain().getCodeSource())
              .getLocation()
              .toURI());
    } catch (URISyntaxException e) {
      throw new IllegalStateException(e);
    }
  }

  /**
   * All classes beside a class of the module.
   *
   * @throws IllegalStateException if that class is not among them
   */
  public static JavaClasses with(Class<?> member) {
    // without a configuration Logback prints a line for each class that ArchUnit looks at
    if (LoggerFactory.getLogger("com.tngtech.archunit") instanceof Logger logger) {
      logger.setLevel(Level.INFO);
    }
    JavaClasses classes = new ClassFileImporter().importPath(folder(member));
    if (!classes.contain(member)) {
      throw new IllegalStateException("classes must hold %s".formatted(member.getName()));
    }
    return classes;
  }
}
