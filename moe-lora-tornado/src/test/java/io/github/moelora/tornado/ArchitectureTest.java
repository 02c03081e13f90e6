package io.github.moelora.tornado;

import static com.tngtech.archunit.lang.syntax.ArchRuleDefinition.noClasses;
import static org.assertj.core.api.Assertions.assertThat;

import com.tngtech.archunit.core.domain.JavaClasses;
import com.tngtech.archunit.core.domain.JavaModifier;
import com.tngtech.archunit.core.importer.ImportOption;
import com.tngtech.archunit.junit.AnalyzeClasses;
import com.tngtech.archunit.junit.ArchTest;
import com.tngtech.archunit.lang.ArchRule;
import io.github.moelora.testkit.architecture.MethodLimit;
import io.github.moelora.testkit.architecture.Rooms;
import io.github.moelora.testkit.architecture.Sources;
import io.github.moelora.tornado.device.FirstUse;
import java.nio.file.Path;
import java.util.List;
import java.util.function.Predicate;

/** The rooms of this module and what keeps them so; CONTRIBUTING.md has the map. */
@AnalyzeClasses(
    packages = "io.github.moelora.tornado",
    importOptions = ImportOption.DoNotIncludeTests.class)
class ArchitectureTest {
  private static final String BASE = "io.github.moelora.tornado";
  private static final String KERNELS = BASE + ".kernels";

  /** A room may use those in its row, all of which stand above it. */
  private static final Rooms ROOMS =
      Rooms.below(BASE)
          .room("device")
          .room("layout")
          .room("kernels", "device", "layout")
          .room("weights", "device", "layout", "kernels")
          .room("choice", "layout", "kernels")
          .room("launch", "device", "layout", "kernels", "weights", "choice")
          .room("plan", "layout", "kernels", "choice", "launch")
          .room("step", "device", "layout", "weights", "choice", "launch")
          .room("engine", "device", "layout", "kernels", "weights", "launch", "plan", "step")
          .room("tune", "device", "layout", "kernels", "weights", "choice", "launch", "step")
          .room(
              "", "device", "layout", "kernels", "weights", "choice", "launch", "plan", "step",
              "engine", "tune");

  private static final Sources SOURCES = Sources.below(Path.of("src/main/java"));

  @ArchTest
  static void roomsUseThoseAbove(JavaClasses classes) {
    ROOMS.check(classes);
  }

  @ArchTest
  static void importsToo(JavaClasses classes) {
    ROOMS.checkImports(SOURCES);
  }

  @ArchTest
  static void theTableAllowsNoMoreThanIsUsed(JavaClasses classes) {
    ROOMS.checkNeeded(classes, SOURCES);
  }

  @ArchTest
  static final ArchRule KERNELS_KNOW_NO_TASK_GRAPH =
      noClasses()
          .that()
          .resideInAPackage(KERNELS)
          .should()
          .dependOnClassesThat()
          .haveNameMatching(
              "java\\.lang\\.foreign\\..*|uk\\.ac\\.manchester\\.tornado\\.api\\.(?:\\w*TaskGraph|GridScheduler|WorkerGrid\\w*|TornadoExecution\\w*)")
          .because("a kernel computes: append it in room 'launch', and hold its arrays elsewhere");

  @ArchTest
  static final ArchRule CHOICE_NAMES_NOTHING_OF_TORNADOVM =
      noClasses()
          .that()
          .resideInAPackage(BASE + ".choice")
          .should()
          .dependOnClassesThat()
          .resideInAPackage("uk.ac.manchester.tornado..")
          .because("choices are numbers, testable anywhere: ask the device in room 'device'");

  /** First runs compile, and compilers of drivers have crashed when two did at once. */
  @ArchTest
  static void whoRunsGraphsLetsOneThreadCompile(JavaClasses classes) {
    List<String> running =
        classes.stream()
            .filter(
                each ->
                    each.getMethodCallsFromSelf().stream()
                        .anyMatch(
                            call ->
                                call.getTargetOwner().getSimpleName().equals("TornadoExecutionPlan")
                                    && call.getName().equals("execute")))
            .filter(
                each ->
                    each.getDirectDependenciesFromSelf().stream()
                        .noneMatch(to -> to.getTargetClass().isEquivalentTo(FirstUse.class)))
            .map(each -> each.getSimpleName())
            .toList();
    // KernelTimer runs each graph once before it has it timed
    assertThat(running).containsExactly("CapturedTimer");
  }

  /** A kernel is public, because room 'launch' names it; its helpers are not. */
  @ArchTest
  static void eachKernelHasTheTestOfItsName(JavaClasses classes) {
    List<String> kernels =
        classes.stream()
            .filter(each -> each.getPackageName().equals(KERNELS))
            .filter(each -> each.isTopLevelClass() && !each.isInterface())
            .filter(each -> each.getModifiers().contains(JavaModifier.PUBLIC))
            .map(each -> each.getSimpleName())
            .toList();
    assertThat(kernels).contains("MmaShrink", "FloatLoops");
    Path tests = Path.of("src/test/java", KERNELS.split("\\.", -1));
    assertThat(kernels)
        .allSatisfy(
            kernel ->
                assertThat(tests.resolve(kernel + "Test.java"))
                    .as("test of kernel %s, which must bear its name", kernel)
                    .exists());
  }

  @ArchTest
  static void hostMethodsAreShort(JavaClasses classes) {
    MethodLimit.lines(60).check(methods(each -> !each.packageName().equals(KERNELS)));
  }

  @ArchTest
  static void kernelsAreShort(JavaClasses classes) {
    MethodLimit.lines(120).check(methods(each -> each.packageName().equals(KERNELS)));
  }

  @ArchTest
  static void hostMethodsHaveFewParameters(JavaClasses classes) {
    MethodLimit.parameters(6).check(methods(each -> !each.packageName().equals(KERNELS)));
  }

  private static List<Sources.Method> methods(Predicate<Sources.Method> which) {
    return SOURCES.methods().stream().filter(which).toList();
  }
}
