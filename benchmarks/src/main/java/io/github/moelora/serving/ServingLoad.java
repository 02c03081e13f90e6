package io.github.moelora.serving;

import io.github.moelora.DType;
import io.github.moelora.GateUp;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.MoeModel;
import io.github.moelora.cache.CacheLimits;
import java.io.PrintWriter;
import java.lang.foreign.Arena;
import java.util.Locale;
import java.util.concurrent.Callable;
import java.util.stream.IntStream;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;

/** Checks and times an adapter cache under load. */
@Command(
    name = "serving-load",
    mixinStandardHelpOptions = true,
    description = {
      "First the cache under load, with every result compared with float64 and files that change;",
      "then, timed, the same trace with all adapters in slots and with a quarter of that many"
          + " slots,",
      "and the very steps of the latter once more with all adapters in slots and no loads."
    })
public final class ServingLoad implements Callable<Integer> {
  /** Live heap may differ by so much between two looks without anything having leaked. */
  private static final long HEAP_NOISE = 24L << 20;

  @Spec private CommandSpec spec;

  @Option(names = "--backend", defaultValue = "cpu", description = "default ${DEFAULT-VALUE}")
  private String backend;

  @Option(names = "--adapters", defaultValue = "200", description = "default ${DEFAULT-VALUE}")
  private int adapters;

  @Option(names = "--slots", defaultValue = "8", description = "default ${DEFAULT-VALUE}")
  private int slots;

  @Option(
      names = "--requests",
      defaultValue = "80",
      description = "at once, default ${DEFAULT-VALUE}")
  private int requests;

  @Option(
      names = "--steps",
      defaultValue = "10000",
      description = "of the check, 0 to leave it out, default ${DEFAULT-VALUE}")
  private int steps;

  @Option(
      names = "--timed-steps",
      defaultValue = "2000",
      description = "of each timed run, 0 to leave them out, default ${DEFAULT-VALUE}")
  private int timedSteps;

  @Option(
      names = "--zipf",
      defaultValue = "1.0",
      description = "exponent of popularity, default ${DEFAULT-VALUE}")
  private double zipf;

  @Option(
      names = "--mean-tokens",
      defaultValue = "8",
      description = "of a request, default ${DEFAULT-VALUE}")
  private int meanTokens;

  @Option(names = "--hidden", defaultValue = "32", description = "default ${DEFAULT-VALUE}")
  private int hidden;

  @Option(names = "--intermediate", defaultValue = "24", description = "default ${DEFAULT-VALUE}")
  private int intermediate;

  @Option(names = "--experts", defaultValue = "4", description = "default ${DEFAULT-VALUE}")
  private int experts;

  @Option(names = "--per-token", defaultValue = "2", description = "default ${DEFAULT-VALUE}")
  private int perToken;

  @Option(names = "--layers", defaultValue = "1", description = "default ${DEFAULT-VALUE}")
  private int layers;

  @Option(names = "--rank", defaultValue = "8", description = "default ${DEFAULT-VALUE}")
  private int rank;

  @Option(names = "--type", defaultValue = "F32", description = "${COMPLETION-CANDIDATES}")
  private DType type;

  @Option(names = "--seed", defaultValue = "1", description = "default ${DEFAULT-VALUE}")
  private long seed;

  /** Called by picocli. */
  @SuppressWarnings("NullAway.Init") // picocli sets the fields
  ServingLoad() {}

  /** Starts the command. */
  public static void main(String[] args) {
    System.exit(new CommandLine(new ServingLoad()).execute(args));
  }

  @Override
  public Integer call() throws Exception {
    PrintWriter out = spec.commandLine().getOut();
    MoeModel model =
        new MoeModel(
            hidden,
            intermediate,
            experts,
            GateUp.HALVES,
            IntStream.range(0, layers).boxed().toList());
    boolean good = true;
    try (Arena arena = Arena.ofShared()) {
      LoadAdapters files = new LoadAdapters(arena, model, rank, type, seed);
      if (steps > 0) {
        good = check(out, model, files);
      }
      if (timedSteps > 0 && Flight.isPresent()) {
        try (Flight flight = Flight.start()) {
          LoadRun.Result result = time(out, model, files);
          printLoads(out, result, flight.times(result.begin(), result.end()));
        }
      } else if (timedSteps > 0) {
        time(out, model, files);
      }
    }
    out.flush();
    return good ? 0 : 1;
  }

  private MoeLoraConfig config(MoeModel model, int slotCount) {
    return MoeLoraConfig.of(model, slotCount, perToken)
        .withMaxTokens(requests)
        .withMaxRank(rank)
        .withWeightType(type);
  }

  private LoadRun.Result run(
      MoeModel model, LoadAdapters files, int slotCount, int adapterCount, boolean check, int count)
      throws Exception {
    LoadRun run = loadRun(config(model, slotCount), adapterCount, files, check);
    Trace trace = new Trace(seed, adapterCount, zipf, meanTokens);
    return run.run(files, files, trace, length(count));
  }

  private LoadRun loadRun(
      MoeLoraConfig config, int adapterCount, LoadAdapters files, boolean check) {
    // half of the adapters fit into host memory
    long bytes = adapterCount / 2 * files.file("a0@0").bytes();
    return new LoadRun(
        config,
        backend,
        requests,
        CacheLimits.of(bytes).withMaxWaiting(requests),
        check,
        check ? 50 : 0);
  }

  private static LoadRun.Length length(int count) {
    return new LoadRun.Length(count / 5, count);
  }

  private boolean check(PrintWriter out, MoeModel model, LoadAdapters files) throws Exception {
    LoadRun.Result result = run(model, files, slots, adapters, true, steps);
    out.printf(
        Locale.ROOT,
        "check: %d adapters over %d slots, %d requests at once, %d steps after warm-up%n",
        adapters,
        slots,
        requests,
        result.steps());
    out.printf(
        Locale.ROOT,
        "  %d results of %d tokens equal float64 of their adapter's version, 0 differ%n",
        result.elements(),
        result.tokens());
    out.printf(Locale.ROOT, "  %s%n", result.stats());
    out.printf(
        Locale.ROOT,
        "  acquire: median %.0f us, p99 %.0f us%n",
        result.acquireMicros(0.5),
        result.acquireMicros(0.99));
    out.printf(
        Locale.ROOT,
        "  live heap %+.1f MiB, process %+.1f MiB since the warm-up%n",
        result.heapGrowth() / 1048576.0,
        result.residentGrowth() / 1048576.0);
    if (result.heapGrowth() > HEAP_NOISE) {
      out.printf(Locale.ROOT, "FAIL: live heap must not grow by more than %d bytes%n", HEAP_NOISE);
      return false;
    }
    return true;
  }

  /**
   * The same trace twice, with all adapters resident and with four for each slot; and the steps
   * that the latter came to, again with all resident. The two runs of the trace differ in who is in
   * a step, since a request without a slot waits; the steps once more tell what loads beside them
   * cost.
   *
   * @return the run with few slots
   */
  private LoadRun.Result time(PrintWriter out, MoeModel model, LoadAdapters files)
      throws Exception {
    int few = 4 * slots;
    LoadRun.Result resident = run(model, files, few, few, false, timedSteps);
    LoadRun.Result cached = run(model, files, slots, few, false, timedSteps);
    LoadRun.Replay again =
        loadRun(config(model, few), few, files, false)
            .replay(files, cached.batches(), length(timedSteps));
    out.printf(
        Locale.ROOT,
        "timed: %d adapters, %d requests at once, %d steps each%n",
        few,
        requests,
        timedSteps);
    printTimes(out, few + " slots", resident);
    printTimes(out, slots + " slots", cached);
    out.printf(
        Locale.ROOT,
        "  tokens/s of %d slots are %.3f of those of %d, steps/s %.3f (of fewer tokens)%n",
        slots,
        cached.tokensPerSecond() / resident.tokensPerSecond(),
        few,
        cached.stepsPerSecond() / resident.stepsPerSecond());
    out.printf(
        Locale.ROOT,
        "  the same steps with all adapters resident: %.0f steps/s; beside loads %.3f of that,"
            + " %.3f within steps%n",
        timedSteps / again.seconds(),
        again.seconds() / cached.seconds(),
        again.stepSeconds() / cached.stepSeconds());
    return cached;
  }

  /** Where the rest is lost. */
  private static void printLoads(PrintWriter out, LoadRun.Result result, Flight.Times flight) {
    int loads = flight.loads().count();
    if (loads == 0) {
      return;
    }
    out.printf(
        Locale.ROOT,
        "  loads: %.1f/s, each %.1f ms (p99 %.1f); the device was theirs %.1f times a load, %.3f ms"
            + " in all a load (one: p99 %.3f)%n",
        loads / result.seconds(),
        flight.loads().sum() / 1e6 / loads,
        flight.loads().p99() / 1e6,
        (double) flight.holds().count() / loads,
        flight.holds().sum() / 1e6 / loads,
        flight.holds().p99() / 1e6);
    out.printf(
        Locale.ROOT,
        "  of %.0f ms, %.0f in steps: runs waited %.1f ms for the device (one: p99 %.3f), garbage"
            + " collector paused %.1f ms%n",
        1e3 * result.seconds(),
        1e3 * result.stepSeconds(),
        flight.waits().sum() / 1e6,
        flight.waits().p99() / 1e6,
        flight.pauses().sum() / 1e6);
  }

  private static void printTimes(PrintWriter out, String name, LoadRun.Result result) {
    out.printf(
        Locale.ROOT,
        "  %-9s %8.0f steps/s %9.0f tokens/s, acquire median %.1f us, p99 %.1f us; %d loads%n",
        name,
        result.stepsPerSecond(),
        result.tokensPerSecond(),
        result.acquireMicros(0.5),
        result.acquireMicros(0.99),
        result.stats().loads());
  }
}
