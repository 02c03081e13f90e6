package io.github.moelora.build;

import static com.tngtech.archunit.lang.syntax.ArchRuleDefinition.noClasses;
import static org.assertj.core.api.Assertions.assertThat;

import com.tngtech.archunit.core.domain.JavaClasses;
import com.tngtech.archunit.core.importer.ClassFileImporter;
import io.github.moelora.cli.MoeLoraCli;
import io.github.moelora.testkit.architecture.MethodLimit;
import io.github.moelora.testkit.architecture.Rooms;
import io.github.moelora.testkit.architecture.Sources;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;

/** What the rooms of benchmarks may use, and how long their methods may be. */
final class ArchitectureTest {
  private static final Path CLASSES_FOLDER = Path.of("target", "classes");

  private static final Sources SOURCES = Sources.below(Path.of("src/main/java"));

  /** Read as sources alone, since they are compiled only where an SDK is found. */
  private static final Sources GPU_SOURCES = Sources.below(Path.of("src/gpu/java"));

  private static final JavaClasses CLASSES =
      new ClassFileImporter()
          .withImportOption(location -> !location.contains("/jmh_generated/"))
          .importPath(CLASSES_FOLDER);

  /** A room uses those above it alone; the first ones are core's and moe-lora-tornado's. */
  private static Rooms rooms() {
    return Rooms.below("io.github.moelora")
        .room("")
        .room("spi")
        .room("peft")
        .room("gguf")
        .room("safetensors")
        .room("reference")
        .room("cache")
        .room("tornado")
        .room("tornado.device")
        .room("tornado.layout")
        .room("tornado.weights")
        .room("tornado.choice")
        .room("tornado.launch")
        .room("tornado.step")
        .room("tornado.tune")
        .room("workload", "", "reference")
        .room("bench", "", "peft", "workload")
        .room("serving", "", "cache", "reference")
        .room("plot")
        .room("cli.golden", "", "peft", "safetensors", "reference", "workload")
        .room(
            "cli",
            "",
            "spi",
            "peft",
            "gguf",
            "reference",
            "workload",
            "bench",
            "plot",
            "cli.golden")
        .room("bench.peer", "", "gguf", "workload", "bench", "cli")
        .room(
            "bench.gpu",
            "",
            "spi",
            "reference",
            "tornado",
            "tornado.device",
            "tornado.layout",
            "tornado.weights",
            "tornado.choice",
            "tornado.launch",
            "tornado.step",
            "tornado.tune",
            "workload",
            "plot",
            "cli");
  }

  @Test
  void roomsUseThoseAboveThem() {
    // guards against an empty folder
    assertThat(CLASSES.contain(MoeLoraCli.class)).isTrue();
    rooms().check(CLASSES);
  }

  @Test
  void importsAreOfRoomsAbove() {
    rooms().checkImports(SOURCES);
    rooms().checkImports(GPU_SOURCES);
  }

  @Test
  void theTableAllowsNoMoreThanIsUsed() {
    rooms().checkNeeded(CLASSES, SOURCES, GPU_SOURCES);
  }

  /** The command line starts where there is no TornadoVM. */
  @Test
  void onlyTheGpuBenchmarksKnowTornadoVm() {
    noClasses()
        .should()
        .dependOnClassesThat()
        .resideInAnyPackage("uk.ac.manchester.tornado..", "io.github.moelora.tornado..")
        .because("the command line runs without TornadoVM: move the class to src/gpu")
        .check(CLASSES);
    assertThat(SOURCES.imports())
        .extracting(Sources.Import::imported)
        .noneMatch(name -> name.contains(".tornado."));
  }

  @Test
  void methodsAreShort() {
    MethodLimit.lines(60).check(SOURCES.methods());
    MethodLimit.lines(60).check(GPU_SOURCES.methods());
  }

  @Test
  void methodsHaveFewParameters() {
    MethodLimit.parameters(6).check(SOURCES.methods());
    MethodLimit.parameters(6).check(GPU_SOURCES.methods());
  }
}
