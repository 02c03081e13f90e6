package io.github.moelora.build;

import static org.assertj.core.api.Assertions.assertThat;

import io.github.moelora.MoeLora;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.lang.classfile.ClassFile;
import java.lang.classfile.constantpool.ClassEntry;
import java.lang.classfile.constantpool.PoolEntry;
import java.lang.classfile.constantpool.Utf8Entry;
import java.lang.module.ModuleDescriptor;
import java.net.URISyntaxException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;

/**
 * Core runs on a machine that has no TornadoVM, so no class of it may as much as name one of
 * TornadoVM's.
 */
final class CoreDependenciesTest {
  private static final String TORNADO_PACKAGES = "uk/ac/manchester/tornado/";

  @Test
  void noClassOfCoreNamesTornadoVm() throws Exception {
    List<Path> classes = classesOfCore();
    // guards against scanning an empty folder
    assertThat(classes).anyMatch(file -> file.endsWith("io/github/moelora/MoeLora.class"));
    assertThat(classes).filteredOn(file -> names(file, TORNADO_PACKAGES)).isEmpty();
  }

  @Test
  void theScanSeesTheTypesThatAClassUses() throws Exception {
    assertThat(classesOfCore()).anyMatch(file -> names(file, "java/lang/foreign/"));
    assertThat(classesOfCore()).anyMatch(file -> names(file, "org/slf4j/"));
  }

  @Test
  void theModuleDoesNotRequireTornadoVm() throws Exception {
    try (InputStream in = Files.newInputStream(coreFolder().resolve("module-info.class"))) {
      assertThat(ModuleDescriptor.read(in).requires())
          .extracting(ModuleDescriptor.Requires::name)
          .contains("org.slf4j")
          .noneMatch(name -> name.startsWith("tornado"));
    }
  }

  private static List<Path> classesOfCore() throws IOException, URISyntaxException {
    try (Stream<Path> files = Files.walk(coreFolder())) {
      return files.filter(file -> file.toString().endsWith(".class")).toList();
    }
  }

  private static Path coreFolder() throws URISyntaxException {
    return Path.of(
        Objects.requireNonNull(MoeLora.class.getProtectionDomain().getCodeSource())
            .getLocation()
            .toURI());
  }

  /**
   * Whether the constant pool names a class of these packages, be it used or only in a signature.
   */
  private static boolean names(Path file, String packages) {
    List<String> names = new ArrayList<>();
    try {
      for (PoolEntry entry : ClassFile.of().parse(file).constantPool()) {
        switch (entry) {
          case ClassEntry type -> names.add(type.asInternalName());
          case Utf8Entry text -> names.add(text.stringValue());
          default -> {}
        }
      }
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
    return names.stream().anyMatch(name -> name.contains(packages));
  }
}
