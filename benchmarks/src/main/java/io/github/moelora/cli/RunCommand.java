package io.github.moelora.cli;

import io.github.moelora.DType;
import io.github.moelora.DenseModule;
import io.github.moelora.ExpertMap;
import io.github.moelora.GateUp;
import io.github.moelora.LoraAdapter;
import io.github.moelora.LoraSlice;
import io.github.moelora.Matrix;
import io.github.moelora.MoeLora;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.MoeModel;
import io.github.moelora.Projection;
import io.github.moelora.ProjectionCall;
import io.github.moelora.Routing;
import io.github.moelora.Step;
import io.github.moelora.bench.Timing;
import io.github.moelora.peft.ReadOptions;
import io.github.moelora.reference.Reference;
import io.github.moelora.workload.AdapterRounding;
import io.github.moelora.workload.Batch;
import io.github.moelora.workload.Bits;
import io.github.moelora.workload.Check;
import java.io.IOException;
import java.io.PrintWriter;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.Set;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;

/** {@code moe-lora run}: the main job on real adapters, with its own check. */
@Command(
    name = "run",
    mixinStandardHelpOptions = true,
    description = {
      "Loads adapters, routes a batch whose tokens use different ones or none through every MoE"
          + " layer, and checks the result.",
      "Without --adapter it takes the examples that come with the project."
    })
final class RunCommand implements Callable<Integer> {
  private static final long WARM_UP_NANOS = 200_000_000;
  private static final long NANOS_PER_ROW = 20_000_000;

  @CommandLine.Spec
  private CommandLine.Model.CommandSpec spec = CommandLine.Model.CommandSpec.create();

  @Option(
      names = "--adapter",
      paramLabel = "NAME=ADAPTER",
      converter = NamedFolder.Converter.class,
      description =
          "A PEFT folder or GGUF file under a name of its own; give it once for each adapter.")
  private List<NamedFolder> adapterFolders = List.of();

  @CommandLine.Mixin private PlaceOptions placeOptions = new PlaceOptions();

  @Option(
      names = "--tokens",
      paramLabel = "T",
      description = "Tokens of the batch (default ${DEFAULT-VALUE}).")
  private int tokens = 64;

  @Option(
      names = "--seed",
      paramLabel = "N",
      description = "Seed of routing and activations (default ${DEFAULT-VALUE}).")
  private long seed = 1;

  @Option(
      names = "--weights",
      paramLabel = "TYPE",
      description =
          "Type in which weights are kept: ${COMPLETION-CANDIDATES} (default ${DEFAULT-VALUE}).")
  private DType weightType = DType.F32;

  @Option(
      names = "--activations",
      paramLabel = "TYPE",
      description = "Type of x and y: ${COMPLETION-CANDIDATES} (default ${DEFAULT-VALUE}).")
  private DType activationType = DType.F32;

  @CommandLine.Mixin private ModelOptions modelOptions = new ModelOptions();

  @CommandLine.Mixin private LayoutOptions layoutOptions = new LayoutOptions();

  @Option(
      names = "--experts-per-token",
      paramLabel = "K",
      description = "Experts that a token is routed to (default 2, or what --base-config says).")
  private @Nullable Integer expertsPerTokenOption;

  private int expertsPerToken = 2;

  @Option(names = "--json", paramLabel = "FILE", description = "Also write the table as JSON.")
  private @Nullable Path json;

  /** A row of the table. */
  private record Row(
      int layer,
      String projection,
      int pairs,
      int blocks,
      double micros,
      double gigabytesPerSecond,
      double worst) {}

  @Override
  public Integer call() throws IOException {
    Options.requireAtLeastOne("--tokens", tokens);
    setExpertsPerToken();
    modelOptions.hints();
    ReadOptions options = layoutOptions.readOptions();
    placeOptions.requireKnown();
    Output.requireWritable("--json", json);
    List<NamedFolder> folders = adapterFolders.isEmpty() ? examples() : adapterFolders;
    requireDistinctNames(folders);
    List<AdapterFile> files = new ArrayList<>();
    try {
      for (NamedFolder folder : folders) {
        AdapterFile file = AdapterFile.open("--adapter", folder.folder(), options);
        files.add(file);
        tell(folder.name(), file);
      }
      return run(folders, files, modelOptions.inferAny(files));
    } finally {
      files.forEach(AdapterFile::close);
    }
  }

  private static void requireDistinctNames(List<NamedFolder> folders) {
    Set<String> names = new HashSet<>();
    for (NamedFolder folder : folders) {
      if (!names.add(folder.name())) {
        throw new IllegalArgumentException(
            "--adapter must have a different name each time, got %s twice"
                .formatted(folder.name()));
      }
    }
  }

  /** The adapters in {@code examples/adapters} of the project, whose folder the launcher tells. */
  private static List<NamedFolder> examples() throws IOException {
    String home = System.getProperty("moelora.home", "");
    Path folder = Path.of(home).resolve("examples").resolve("adapters");
    List<NamedFolder> found = new ArrayList<>();
    if (Files.isDirectory(folder)) {
      try (var directories = Files.list(folder)) {
        directories
            .filter(Files::isDirectory)
            .sorted()
            .forEach(d -> found.add(new NamedFolder(String.valueOf(d.getFileName()), d)));
      }
    }
    if (found.isEmpty()) {
      throw new IllegalArgumentException(
          "--adapter must be given, since no examples lie in " + folder.toAbsolutePath());
    }
    return found;
  }

  private void setExpertsPerToken() throws IOException {
    if (expertsPerTokenOption != null) {
      expertsPerToken = expertsPerTokenOption;
    } else {
      Integer known = modelOptions.expertsPerToken();
      expertsPerToken = known == null ? expertsPerToken : known;
    }
    Options.requireAtLeastOne("--experts-per-token", expertsPerToken);
  }

  /** What the user must know before the first token. */
  private void tell(String name, AdapterFile file) {
    PrintWriter err = spec.commandLine().getErr();
    for (String warning : file.warnings()) {
      err.println("moe-lora: warning: adapter %s: %s".formatted(name, Output.printable(warning)));
    }
    err.flush();
  }

  private int run(List<NamedFolder> folders, List<AdapterFile> files, MoeModel model)
      throws IOException {
    if (expertsPerToken > model.experts()) {
      throw new IllegalArgumentException(
          "--experts-per-token must be at most the number of experts %d, got %d"
              .formatted(model.experts(), expertsPerToken));
    }
    List<LoraAdapter> adapters = files.stream().map(file -> file.toLoraAdapter(model)).toList();
    int maxRank = adapters.stream().mapToInt(LoraAdapter::maxRank).max().orElse(1);
    MoeLoraConfig config =
        MoeLoraConfig.of(model, adapters.size(), expertsPerToken)
            .withMaxTokens(tokens)
            .withMaxRank(maxRank)
            .withWeightType(weightType)
            .withExpertMap(ExpertMap.identity(model.experts()));
    PrintWriter out = spec.commandLine().getOut();
    try (MoeLora lora = placeOptions.place().open(config);
        Step step = lora.newStep()) {
      for (int slot = 0; slot < adapters.size(); slot++) {
        lora.load(slot, adapters.get(slot));
      }
      printModel(lora, model, out);
      printAdapters(folders, files, adapters, out);
      List<Row> rows = new ArrayList<>();
      Random random = new Random(seed);
      for (int layer : model.layers()) {
        runLayer(layer, random, step, model, adapters, rows);
      }
      for (int module = 0; module < model.dense().size(); module++) {
        runDense(module, random, step, model, adapters, rows);
      }
      print(rows, out);
      boolean passed = rows.stream().allMatch(row -> row.worst() <= 1);
      out.println(
          passed
              ? "PASS: every element is within its bound of a float64 reference that reads the same"
                  + " adapters"
              : "FAIL: an element is outside its bound of a float64 reference");
      out.flush();
      writeJson(lora, folders, passed, rows);
      return passed ? 0 : MoeLoraCli.CHECK_FAILED;
    }
  }

  private void printModel(MoeLora lora, MoeModel model, PrintWriter out) {
    out.printf("backend %s on %s%n", lora.backendName(), lora.device());
    out.printf(
        "model   hidden %d, intermediate %d, %d experts, %d per token, layers %s%n",
        model.hiddenSize(),
        model.intermediateSize(),
        model.experts(),
        expertsPerToken,
        model.layers());
  }

  private void printAdapters(
      List<NamedFolder> folders,
      List<AdapterFile> files,
      List<LoraAdapter> adapters,
      PrintWriter out) {
    for (int slot = 0; slot < adapters.size(); slot++) {
      out.printf(
          "adapter %d %s: rank %d, %s%n",
          slot,
          folders.get(slot).name(),
          adapters.get(slot).maxRank(),
          Output.shortened(files.get(slot).file()));
    }
    out.printf("batch   %d tokens, each adapter in turn and then none%n", tokens);
  }

  private void writeJson(MoeLora lora, List<NamedFolder> folders, boolean passed, List<Row> rows)
      throws IOException {
    if (json == null) {
      return;
    }
    Map<String, Object> document = new LinkedHashMap<>();
    document.put("backend", lora.backendName());
    document.put("device", lora.device());
    document.put("adapters", folders.stream().map(NamedFolder::name).toList());
    document.put("weights", weightType);
    document.put("activations", activationType);
    document.put("tokens", tokens);
    document.put("seed", seed);
    document.put("passed", passed);
    document.put("rows", rows);
    Output.writeJson(json, document);
  }

  private static void print(List<Row> rows, PrintWriter out) {
    TextTable table =
        new TextTable(
            "layer", "projection", "pairs", "blocks", "time us", "GB/s", "worst error / bound");
    for (Row row : rows) {
      table.row(
          row.layer() < 0 ? "-" : row.layer(),
          row.projection(),
          row.pairs(),
          row.blocks(),
          Output.number(row.micros()),
          Output.number(row.gigabytesPerSecond()),
          Output.format("%.3f", row.worst()));
    }
    table.print(out);
  }

  /**
   * One layer as a model would run it: gate and up, activation, down. The base model's part is
   * random.
   */
  private void runLayer(
      int layer,
      Random random,
      Step step,
      MoeModel model,
      List<LoraAdapter> adapters,
      List<Row> rows) {
    int pairs = tokens * expertsPerToken;
    int[] adapterIds = adapterIds(adapters.size());
    Batch batch = Batch.random(random, adapterIds, expertsPerToken, model.experts());
    int[] expertIds = batch.expertIds();
    float[] routingWeights = batch.routingWeights();
    step.plan(
        tokens,
        MemorySegment.ofArray(expertIds),
        MemorySegment.ofArray(routingWeights),
        MemorySegment.ofArray(adapterIds));
    try (Arena arena = Arena.ofShared()) {
      Reference.Inputs inputs =
          new Reference.Inputs(
              model,
              ProjectionCall.gateUp(layer),
              rounded(adapters),
              expertIds,
              routingWeights,
              adapterIds,
              Bits.random(arena, random, activationType, tokens, model.hiddenSize()),
              Bits.random(
                  arena, random, activationType, pairs, model.outputWidth(Projection.GATE_UP)));
      Matrix gateUp = measure(arena, step, inputs, adapters, rows);
      Matrix activation = Bits.zeros(arena, activationType, pairs, model.intermediateSize());
      activate(model, gateUp, activation);
      Reference.Inputs down =
          new Reference.Inputs(
              model,
              ProjectionCall.down(layer),
              inputs.adapters(),
              expertIds,
              routingWeights,
              adapterIds,
              activation,
              Bits.random(arena, random, activationType, pairs, model.hiddenSize()));
      measure(arena, step, down, adapters, rows);
    }
  }

  /** Every adapter in turn, then no adapter. */
  private int[] adapterIds(int adapters) {
    int[] adapterIds = new int[tokens];
    for (int t = 0; t < tokens; t++) {
      adapterIds[t] = t % (adapters + 1) == adapters ? -1 : t % (adapters + 1);
    }
    return adapterIds;
  }

  /** One linear layer outside the routed experts, with random activations. */
  private void runDense(
      int module,
      Random random,
      Step step,
      MoeModel model,
      List<LoraAdapter> adapters,
      List<Row> rows) {
    DenseModule dense = model.dense().get(module);
    int[] adapterIds = adapterIds(adapters.size());
    step.planDense(tokens, MemorySegment.ofArray(adapterIds));
    try (Arena arena = Arena.ofShared()) {
      Reference.Inputs inputs =
          new Reference.Inputs(
              model,
              ProjectionCall.dense(module),
              rounded(adapters),
              new int[0],
              new float[0],
              adapterIds,
              Bits.random(arena, random, activationType, tokens, dense.inputWidth()),
              Bits.random(arena, random, activationType, tokens, dense.outputWidth()));
      measure(arena, step, inputs, adapters, rows);
    }
  }

  /**
   * The adapters as the backend keeps them: the reference judges the arithmetic, not the choice of
   * a narrower type.
   */
  private List<@Nullable LoraAdapter> rounded(List<LoraAdapter> adapters) {
    if (weightType == DType.F32) {
      return new ArrayList<>(adapters);
    }
    List<@Nullable LoraAdapter> rounded = new ArrayList<>();
    for (LoraAdapter adapter : adapters) {
      rounded.add(AdapterRounding.toType(adapter, weightType));
    }
    return rounded;
  }

  private static void activate(MoeModel model, Matrix gateUp, Matrix activation) {
    int width = model.intermediateSize();
    for (int p = 0; p < activation.rows(); p++) {
      for (int i = 0; i < width; i++) {
        if (model.gateUp() == GateUp.UP_ONLY) {
          float up = Math.max(0, gateUp.get(p, i));
          activation.set(p, i, up * up);
        } else {
          boolean interleaved = model.gateUp() == GateUp.INTERLEAVED;
          float gate = gateUp.get(p, interleaved ? 2 * i : i);
          float up = gateUp.get(p, interleaved ? 2 * i + 1 : width + i);
          activation.set(p, i, gate / (1 + (float) Math.exp(-gate)) * up);
        }
      }
    }
  }

  /**
   * Runs and checks one projection, times it on a copy of y, and checks what the last of these runs
   * adds; returns the result of the first run.
   */
  private Matrix measure(
      Arena arena, Step step, Reference.Inputs inputs, List<LoraAdapter> adapters, List<Row> rows) {
    Matrix y = Bits.copy(arena, inputs.y());
    step.run(inputs.call(), inputs.x(), y);
    Reference.Result expected = Reference.compute(inputs);
    Check check = new Check();
    check.compare(expected, y);
    Matrix scratch = Bits.copy(arena, inputs.y());
    Runnable action = () -> step.run(inputs.call(), inputs.x(), scratch);
    if (rows.size() < Projection.values().length) {
      Timing.warmUp(action, WARM_UP_NANOS);
    }
    double nanos = Timing.medianNanos(action, NANOS_PER_ROW);
    // by now the compiler has replaced the code that ran first
    Bits.copyInto(inputs.y(), scratch);
    action.run();
    check.compare(expected, scratch);
    Routing routing = inputs.call().isDense() ? step.denseRouting() : step.routing();
    rows.add(
        new Row(
            inputs.call().isDense() ? -1 : inputs.call().layer(),
            name(inputs),
            routing.pairs(),
            routing.activeBlocks(),
            nanos / 1e3,
            bytes(inputs, adapters) / nanos,
            check.worst()));
    return y;
  }

  private static String name(Reference.Inputs inputs) {
    return inputs.call().isDense()
        ? Output.printable(inputs.model().dense().get(inputs.call().module()).name())
        : Output.name(inputs.call().projection());
  }

  /**
   * Bytes that must move: the weights of each (adapter, expert) hit once, x once, y read and
   * written.
   */
  private double bytes(Reference.Inputs inputs, List<LoraAdapter> adapters) {
    Set<List<Integer>> seen = new HashSet<>();
    long weights = 0;
    boolean dense = inputs.call().isDense();
    int pairs = dense ? tokens : inputs.expertIds().length;
    for (int p = 0; p < pairs; p++) {
      int slot = inputs.adapterIds()[dense ? p : p / expertsPerToken];
      int expert = dense ? 0 : inputs.expertIds()[p];
      if (slot >= 0 && seen.add(List.of(slot, expert))) {
        for (LoraSlice slice : adapters.get(slot).slices(inputs.model(), inputs.call(), expert)) {
          weights += (long) slice.rank() * (slice.a().columns() + slice.columns());
        }
      }
    }
    long activations =
        (long) inputs.x().rows() * inputs.x().columns()
            + 2L * inputs.y().rows() * inputs.y().columns();
    return weights * (double) weightType.bytes() + activations * (double) activationType.bytes();
  }
}
