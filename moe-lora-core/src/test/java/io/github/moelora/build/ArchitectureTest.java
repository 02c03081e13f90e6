package io.github.moelora.build;

import static com.tngtech.archunit.lang.syntax.ArchRuleDefinition.noClasses;
import static org.assertj.core.api.Assertions.assertThat;

import com.tngtech.archunit.core.domain.JavaClasses;
import io.github.moelora.MoeLora;
import io.github.moelora.testkit.architecture.MethodLimit;
import io.github.moelora.testkit.architecture.ModuleClasses;
import io.github.moelora.testkit.architecture.Rooms;
import io.github.moelora.testkit.architecture.Sources;
import java.io.IOException;
import java.io.InputStream;
import java.lang.module.ModuleDescriptor;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;

/** What the rooms of core may use, and how long its methods may be. */
final class ArchitectureTest {
  private static final String TORNADO = "uk.ac.manchester.tornado";

  /** Also what javac inlines, of which class files tell nothing. */
  private static final Sources SOURCES = Sources.below(Path.of("src/main/java"));

  private static final JavaClasses CLASSES = ModuleClasses.with(MoeLora.class);

  /** A room uses those above it alone. */
  private static Rooms rooms() {
    return Rooms.below("io.github.moelora")
        .room("json")
        .room("peft.names")
        .room("spi")
        .room("", "spi")
        .circle(
            "spi",
            "",
            "users import the configuration and the matrices from the root, backends are handed"
                + " them, and the root calls backends")
        .room("safetensors", "", "json")
        .room("peft", "", "json", "peft.names", "safetensors")
        .room("cache", "", "peft")
        .room("gguf", "", "peft", "safetensors")
        .room("reference", "")
        .room("cpu", "", "spi");
  }

  @Test
  void roomsUseThoseAboveThem() {
    rooms().check(CLASSES);
  }

  @Test
  void importsAreOfRoomsAbove() {
    rooms().checkImports(SOURCES);
  }

  @Test
  void theTableAllowsNoMoreThanIsUsed() {
    rooms().checkNeeded(CLASSES, SOURCES);
  }

  /** Core runs on a machine without TornadoVM. */
  @Test
  void nothingKnowsTornadoVm() throws IOException {
    noClasses()
        .should()
        .dependOnClassesThat()
        .resideInAPackage(TORNADO + "..")
        .because("core runs on machines without TornadoVM: move the class to moe-lora-tornado")
        .check(CLASSES);
    assertThat(SOURCES.imports())
        .extracting(Sources.Import::imported)
        .anyMatch(name -> name.startsWith("java.lang.foreign."))
        .noneMatch(name -> name.startsWith(TORNADO));
    Path folder = ModuleClasses.folder(MoeLora.class);
    try (InputStream in = Files.newInputStream(folder.resolve("module-info.class"))) {
      assertThat(ModuleDescriptor.read(in).requires())
          .extracting(ModuleDescriptor.Requires::name)
          .contains("org.slf4j")
          .noneMatch(name -> name.startsWith("tornado"));
    }
  }

  @Test
  void onlyTheReadersOfJsonKnowJackson() {
    noClasses()
        .that()
        .resideOutsideOfPackages("..json..", "..safetensors..")
        .should()
        .dependOnClassesThat()
        .resideInAPackage("com.fasterxml.jackson..")
        .because("a class that needs JSON calls Json, which refuses what is hostile")
        .check(CLASSES);
  }

  /** A JVM that was started without the Vector API's module must not fail to load the others. */
  @Test
  void onlyTheVectorKernelsKnowTheVectorApi() {
    noClasses()
        .that()
        .doNotHaveSimpleName("VectorKernels")
        .should()
        .dependOnClassesThat()
        .resideInAPackage("jdk.incubator.vector..")
        .because("jdk.incubator.vector may be missing: put vector code into VectorKernels")
        .check(CLASSES);
  }

  @Test
  void methodsAreShort() {
    MethodLimit.lines(60)
        .except(
            "VectorKernels.multiplyTwo8",
            "16 sums of one loop, spelled out: the compiler keeps vectors in registers only as"
                + " local variables")
        .check(SOURCES.methods());
  }

  @Test
  void methodsHaveFewParameters() {
    MethodLimit.parameters(6).check(SOURCES.methods());
  }
}
