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
import java.util.List;
import java.util.Optional;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * Every instruction of the narrow kernels got wrong in turn: a barrier or a copy left out, a
 * constant one higher, a condition negated, an operator exchanged and more. The cases on the
 * emulated device must find every one but those that {@code equivalent-mutants.txt} explains.
 *
 * <p>Every eighth one by default, all with {@code -Dmoelora.mutants=all}.
 */
@Tag("emulated")
class KernelMutantsTest {
  private static final Path SOURCES = Path.of("src/main/java");
  private static final long SEED = 20;

  @ParameterizedTest
  @ValueSource(classes = {MmaShrink.class, MmaExpand.class, OneShot.class})
  void everyMutantDies(Class<?> kernels)
      throws IOException, ClassNotFoundException, InterruptedException, ExecutionException {
    MutantClass original = MutantClass.read(kernels, SOURCES);
    EquivalentMutants equivalent = EquivalentMutants.read();
    assertThat(equivalent.unknown(original)).as("entries of no mutant").isEmpty();
    int step = "all".equals(System.getProperty("moelora.mutants")) ? 1 : 8;
    List<Mutant> all =
        original.mutants().stream().filter(mutant -> !equivalent.contains(mutant)).toList();
    List<Mutant> mutants =
        IntStream.range(0, all.size()).filter(i -> i % step == 0).mapToObj(all::get).toList();
    List<Fate> fates = run(original, mutants);
    Files.write(
        Path.of("target", kernels.getSimpleName() + "-mutants.txt"),
        fates.stream().map(Fate::toString).toList());
    System.out.printf(
        "%s: %d mutants, %d of them equivalent, %d tried%n",
        kernels.getSimpleName(),
        original.mutants().size(),
        original.mutants().size() - all.size(),
        mutants.size());
    assertThat(fates.stream().filter(fate -> fate.death.isEmpty()).map(Fate::mutant))
        .as("survivors")
        .isEmpty();
  }

  /** A mutant and what killed it. */
  private record Fate(Mutant mutant, Optional<String> death) {
    @Override
    public String toString() {
      return mutant + " : " + death.orElse("SURVIVED");
    }
  }

  private static List<Fate> run(MutantClass original, List<Mutant> mutants)
      throws InterruptedException, ExecutionException {
    int workers = Runtime.getRuntime().availableProcessors();
    List<Future<List<Fate>>> results = new ArrayList<>();
    try (ExecutorService executor = Executors.newFixedThreadPool(workers)) {
      for (int w = 0; w < workers; w++) {
        int first = w;
        results.add(
            executor.submit(
                () -> {
                  Killer killer = new Killer(original);
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

  /** The cases, and how long each takes the class as it is. */
  private static final class Killer {
    private final MutantClass original;
    private final List<EmulatedCase> cases = EmulatedCase.all();
    private final List<EmulatedProjection> projections = new ArrayList<>();
    private final List<Long> branches = new ArrayList<>();

    Killer(MutantClass original) {
      this.original = original;
      KernelLoader loader = KernelLoader.of(original, null);
      for (EmulatedCase test : cases) {
        EmulatedProjection projection = test.build(SEED);
        projection.run(SEED);
        loader.allow(Long.MAX_VALUE);
        projection.runMutated(loader, SEED);
        branches.add(Long.MAX_VALUE - loader.left());
        projections.add(projection);
      }
    }

    Fate run(Mutant mutant) {
      KernelLoader loader = KernelLoader.of(original, mutant);
      for (int i = 0; i < projections.size(); i++) {
        loader.allow(4 * branches.get(i) + 10_000);
        try {
          projections.get(i).runMutated(loader, SEED);
        } catch (LinkageError e) {
          // no kernel's fault
          throw e;
        } catch (AssertionError | RuntimeException e) {
          return new Fate(mutant, Optional.of(cases.get(i) + ": " + e));
        }
      }
      return new Fate(mutant, Optional.empty());
    }
  }
}
