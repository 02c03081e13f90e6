package io.github.moelora.tornado.kernels;

import static org.assertj.core.api.Assertions.assertThat;

import io.github.moelora.tornado.emulator.EquivalentMutants;
import io.github.moelora.tornado.emulator.KernelLoader;
import io.github.moelora.tornado.emulator.Mutant;
import io.github.moelora.tornado.emulator.MutantClass;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.NavigableSet;
import java.util.Optional;
import java.util.TreeSet;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.function.Supplier;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * Every instruction of the kernels below and of their stages got wrong in turn: a barrier or a copy
 * left out, a constant one higher, a condition negated, an operator exchanged and more. The cases
 * on the emulated device must find every one but those that {@code equivalent-mutants.txt}
 * explains.
 *
 * <p>By default only some of them, which differ from one kind of kernels to the other for time's
 * sake; all with {@code -Dmoelora.mutants=all}.
 */
@Tag("emulated")
class KernelMutantsTest {
  private static final Path SOURCES = Path.of("src/main/java");
  private static final long SEED = 20;

  /**
   * Kernels that the same cases run. A stage that kinds share belongs to the first of them.
   *
   * @param step by default, every so many mutants
   * @param shared a stage of all the kernels, which makes all of them run
   */
  record Kind(
      String name,
      int step,
      List<Class<?>> kernels,
      Class<?> shared,
      Supplier<Stream<Named>> cases) {
    /** Names of the kernels and all their stages, but for those of the kinds before. */
    NavigableSet<String> classes() {
      NavigableSet<String> names = new TreeSet<>();
      for (Class<?> kernel : kernels) {
        KernelLoader.parts(kernel).stream()
            .filter(part -> part.startsWith(kernel.getPackageName() + "."))
            .forEach(names::add);
      }
      for (Kind before : kinds().subList(0, kinds().indexOf(this))) {
        names.removeAll(before.classes());
      }
      return names;
    }

    @Override
    public String toString() {
      return name;
    }
  }

  private static final List<Kind> KINDS =
      List.of(
          new Kind(
              "narrow",
              8,
              List.of(MmaShrink.class, MmaExpand.class, OneShot.class),
              Site.class,
              () -> EmulatedCase.all().stream().map(test -> named(test, test.build(SEED)))),
          new Kind(
              "plans",
              4,
              List.of(PlanKernels.class),
              PairSites.class,
              () -> PlanCase.all().stream().map(test -> named(test, test))),
          new Kind(
              "pairs",
              64,
              List.of(PairKernels.class, WidePairs.class),
              PairSites.class,
              () -> PairCase.all().stream().map(test -> named(test, test.build(SEED)))));

  static List<Kind> kinds() {
    return KINDS;
  }

  /** A case by its name. */
  record Named(String name, EmulatedRun run) {}

  private static Named named(Object test, EmulatedRun run) {
    return new Named(test.toString(), run);
  }

  @ParameterizedTest
  @MethodSource("kinds")
  void everyMutantDies(Kind kind)
      throws IOException, ClassNotFoundException, InterruptedException, ExecutionException {
    EquivalentMutants equivalent = EquivalentMutants.read();
    List<MutantClass> ofAll = new ArrayList<>();
    List<Candidate> all = new ArrayList<>();
    for (Kind each : KINDS) {
      for (String name : each.classes()) {
        MutantClass original = MutantClass.read(Class.forName(name), SOURCES);
        ofAll.add(original);
        original.mutants().stream()
            .filter(mutant -> each.equals(kind))
            .forEach(mutant -> all.add(new Candidate(original, mutant)));
      }
    }
    assertThat(equivalent.unknown(ofAll)).as("entries of no mutant").isEmpty();
    int step = "all".equals(System.getProperty("moelora.mutants")) ? 1 : kind.step;
    List<Candidate> tried =
        IntStream.range(0, all.size())
            .filter(i -> i % step == 0)
            .mapToObj(all::get)
            .filter(candidate -> !equivalent.contains(candidate.mutant))
            .toList();
    List<Fate> fates = run(kind, tried);
    Files.write(
        Path.of("target", "kernel-mutants-%s.txt".formatted(kind)),
        fates.stream().map(Fate::toString).toList());
    System.out.printf(
        "%s: %d mutants, %d of them tried that are not equivalent%n",
        kind, all.size(), tried.size());
    assertThat(fates.stream().filter(fate -> fate.death.isEmpty()).map(Fate::mutant))
        .as("survivors")
        .isEmpty();
  }

  /** A mutant of a class. */
  private record Candidate(MutantClass original, Mutant mutant) {}

  /** A mutant and what killed it. */
  private record Fate(Mutant mutant, Optional<String> death) {
    @Override
    public String toString() {
      return mutant + " : " + death.orElse("SURVIVED");
    }
  }

  private static List<Fate> run(Kind kind, List<Candidate> mutants)
      throws IOException, ClassNotFoundException, InterruptedException, ExecutionException {
    MutantClass shared = MutantClass.read(kind.shared, SOURCES);
    int workers = Runtime.getRuntime().availableProcessors();
    List<Future<List<Fate>>> results = new ArrayList<>();
    try (ExecutorService executor = Executors.newFixedThreadPool(workers)) {
      for (int w = 0; w < workers; w++) {
        int first = w;
        results.add(
            executor.submit(
                () -> {
                  Killer killer = new Killer(kind, shared);
                  List<Fate> fates = new ArrayList<>();
                  for (int m = first; m < mutants.size(); m += workers) {
                    fates.add(killer.run(mutants.get(m)));
                  }
                  return fates;
                }));
      }
    }
    List<Fate> fates = new ArrayList<>();
    for (Future<List<Fate>> result : results) {
      fates.addAll(result.get());
    }
    return fates;
  }

  /**
   * A case, ready to run.
   *
   * @param branches how long all of its kernels take as they are
   */
  private record Trial(Named test, long branches) {}

  /** The cases, the shortest first: most mutants die of any, and loops without an end early. */
  private static final class Killer {
    private final List<Trial> trials = new ArrayList<>();

    /**
     * @param shared a stage of all kernels, which makes all of them run
     */
    Killer(Kind kind, MutantClass shared) {
      for (Named test : kind.cases.get().toList()) {
        test.run.run(SEED);
        KernelLoader loader = KernelLoader.of(shared, null);
        loader.allow(Long.MAX_VALUE);
        test.run.runMutated(loader, SEED);
        trials.add(new Trial(test, Long.MAX_VALUE - loader.left()));
      }
      trials.sort(Comparator.comparingLong(Trial::branches));
    }

    Fate run(Candidate candidate) {
      KernelLoader loader = KernelLoader.of(candidate.original, candidate.mutant);
      for (Trial trial : trials) {
        loader.allow(4 * trial.branches + 10_000);
        try {
          trial.test.run.runMutated(loader, SEED);
        } catch (LinkageError e) {
          // no kernel's fault
          throw e;
        } catch (AssertionError | RuntimeException e) {
          return new Fate(candidate.mutant, Optional.of(trial.test.name + ": " + e));
        }
      }
      return new Fate(candidate.mutant, Optional.empty());
    }
  }
}
