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
import java.util.stream.IntStream;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;

/**
 * Every instruction of the narrow kernels and their stages got wrong in turn: a barrier or a copy
 * left out, a constant one higher, a condition negated, an operator exchanged and more. The cases
 * on the emulated device must find every one but those that {@code equivalent-mutants.txt}
 * explains.
 *
 * <p>Every eighth one by default, all with {@code -Dmoelora.mutants=all}.
 */
@Tag("emulated")
class KernelMutantsTest {
  private static final Path SOURCES = Path.of("src/main/java");
  private static final long SEED = 20;

  private static final List<Class<?>> KERNELS =
      List.of(MmaShrink.class, MmaExpand.class, OneShot.class);

  @Test
  void everyMutantDies()
      throws IOException, ClassNotFoundException, InterruptedException, ExecutionException {
    List<MutantClass> classes = classes();
    EquivalentMutants equivalent = EquivalentMutants.read();
    assertThat(equivalent.unknown(classes)).as("entries of no mutant").isEmpty();
    int step = "all".equals(System.getProperty("moelora.mutants")) ? 1 : 8;
    List<Candidate> all = new ArrayList<>();
    for (MutantClass original : classes) {
      for (Mutant mutant : original.mutants()) {
        if (!equivalent.contains(mutant)) {
          all.add(new Candidate(original, mutant));
        }
      }
    }
    List<Candidate> tried =
        IntStream.range(0, all.size()).filter(i -> i % step == 0).mapToObj(all::get).toList();
    List<Fate> fates = run(tried);
    Files.write(
        Path.of("target", "kernel-mutants.txt"), fates.stream().map(Fate::toString).toList());
    System.out.printf(
        "%d classes, %d mutants that are not equivalent, %d tried%n",
        classes.size(), all.size(), tried.size());
    assertThat(fates.stream().filter(fate -> fate.death.isEmpty()).map(Fate::mutant))
        .as("survivors")
        .isEmpty();
  }

  /** The kernels and all their stages. */
  private static List<MutantClass> classes() throws IOException, ClassNotFoundException {
    NavigableSet<String> names = new TreeSet<>();
    for (Class<?> kernel : KERNELS) {
      KernelLoader.parts(kernel).stream()
          .filter(name -> name.startsWith(kernel.getPackageName() + "."))
          .forEach(names::add);
    }
    List<MutantClass> classes = new ArrayList<>();
    for (String name : names) {
      classes.add(MutantClass.read(Class.forName(name), SOURCES));
    }
    return classes;
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

  private static List<Fate> run(List<Candidate> mutants)
      throws IOException, ClassNotFoundException, InterruptedException, ExecutionException {
    MutantClass shared = MutantClass.read(Site.class, SOURCES);
    int workers = Runtime.getRuntime().availableProcessors();
    List<Future<List<Fate>>> results = new ArrayList<>();
    try (ExecutorService executor = Executors.newFixedThreadPool(workers)) {
      for (int w = 0; w < workers; w++) {
        int first = w;
        results.add(
            executor.submit(
                () -> {
                  Killer killer = new Killer(shared);
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
  private record Trial(EmulatedCase test, EmulatedProjection projection, long branches) {}

  /** The cases, the shortest first: most mutants die of any, and loops without an end early. */
  private static final class Killer {
    private final List<Trial> trials = new ArrayList<>();

    /**
     * @param shared a stage of all kernels, which makes all of them run
     */
    Killer(MutantClass shared) {
      for (EmulatedCase test : EmulatedCase.all()) {
        EmulatedProjection projection = test.build(SEED);
        projection.run(SEED);
        KernelLoader loader = KernelLoader.of(shared, null);
        loader.allow(Long.MAX_VALUE);
        projection.runMutated(loader, SEED);
        trials.add(new Trial(test, projection, Long.MAX_VALUE - loader.left()));
      }
      trials.sort(Comparator.comparingLong(Trial::branches));
    }

    Fate run(Candidate candidate) {
      KernelLoader loader = KernelLoader.of(candidate.original, candidate.mutant);
      for (Trial trial : trials) {
        loader.allow(4 * trial.branches + 10_000);
        try {
          trial.projection.runMutated(loader, SEED);
        } catch (LinkageError e) {
          // no kernel's fault
          throw e;
        } catch (AssertionError | RuntimeException e) {
          return new Fate(candidate.mutant, Optional.of(trial.test + ": " + e));
        }
      }
      return new Fate(candidate.mutant, Optional.empty());
    }
  }
}
