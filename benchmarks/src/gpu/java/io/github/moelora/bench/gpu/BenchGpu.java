package io.github.moelora.bench.gpu;

import io.github.moelora.DType;
import io.github.moelora.cli.Options;
import io.github.moelora.spi.Availability;
import io.github.moelora.tornado.TornadoBackendProvider;
import io.github.moelora.tornado.device.DeviceTraits;
import io.github.moelora.workload.Batch;
import io.github.moelora.workload.BatchTrace;
import io.github.moelora.workload.Workload;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Instant;
import java.time.temporal.ChronoUnit;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.Callable;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;
import uk.ac.manchester.tornado.api.TornadoExecutionPlan;

/**
 * Measures the narrow kernels on a GPU: four model shapes, ranks 16 and 64, 1 to 8192 tokens, in
 * bf16 and fp16, beside the floor and, if its file is given, vLLM's operator. Started by {@code
 * scripts/bench-gpu --json FILE --plot FILE}.
 *
 * <p>The time of a cell is that of shrink and expand on the GPU with weights, routing and
 * activations resident. Every result is checked against the reference before it is timed.
 */
@Command(
    name = "bench-gpu",
    mixinStandardHelpOptions = true,
    showDefaultValues = true,
    description = {
      "Times the narrow kernels on a GPU, against the floor and vLLM's operator.",
      "The exit code is 1 if a result is wrong or a measurement is missing."
    })
final class BenchGpu implements Callable<Integer> {
  @Option(
      names = "--cases",
      split = ",",
      paramLabel = "NAME",
      description =
          "Model shapes (qwen3_30b_w13, qwen3_30b_w2, qwen3moe64, mixtral), with --layer models"
              + " (qwen3_30b, qwen3moe64, mixtral); all if left out.")
  private List<String> cases = List.of();

  @Option(
      names = "--ranks",
      split = ",",
      paramLabel = "R",
      description = "Ranks; 16,64 if left out, with --serving 64.")
  private List<Integer> ranks = List.of();

  @Option(
      names = "--tokens",
      split = ",",
      paramLabel = "T",
      description = "Batch sizes; 1,8,64,1024,8192 if left out, with --layer 80 instead of 64.")
  private List<Integer> tokens = List.of();

  @Option(
      names = "--types",
      split = ",",
      paramLabel = "TYPE",
      description = "bf16, fp16 or both; both if left out, with --serving bf16.")
  private List<String> types = List.of();

  /** Kernels to measure. */
  enum Kernels {
    TENSOR_CORE("tensor-core"),
    PORTABLE("portable");

    private final String option;

    Kernels(String option) {
      this.option = option;
    }

    @Override
    public String toString() {
      return option;
    }
  }

  @Option(
      names = "--kernels",
      paramLabel = "KIND",
      description =
          "tensor-core: those for 16-bit types, on the CUDA backend alone; portable: the plain"
              + " loops on float32, on any.")
  private Kernels kind = Kernels.TENSOR_CORE;

  @Option(
      names = "--layer",
      description =
          "Measure whole layers instead: plan on the device, gate/up and down in one graph, as an"
              + " engine has them.")
  private boolean layer;

  @Option(
      names = "--serving",
      description =
          "Measure the layers of a server's run instead: Qwen3-30B-A3B, two adapters, 800 requests,"
              + " 80 at once, 1024 tokens in and 100 out, at most 8192 tokens a step.")
  private boolean serving;

  @Option(
      names = "--parts",
      description = "With --layer, time plan, gate/up and down, too; takes twice as long.")
  private boolean parts;

  @Option(
      names = "--variants",
      description =
          "With --layer, gate/up with the activation and down combined over a token's experts;"
              + " with --vllm beside vLLM's layer with its activation and sum kernels.")
  private boolean variants;

  @Option(names = "--seed", paramLabel = "N", description = "Seed of all random numbers.")
  private long seed = 1;

  @Option(
      names = "--vllm",
      paramLabel = "PATH",
      description =
          "vLLM's fused_moe_lora_op.py, to be measured too, with --layer or --serving the folder of"
              + " a vLLM checkout; needs python3 (or $PYTHON) with PyTorch and Triton, the latter"
              + " nvcc as well.")
  private @Nullable Path vllm;

  @Option(
      names = "--vllm-warm",
      description =
          "Compile what --vllm needs into Triton's cache, in many processes, and measure nothing: a"
              + " later run of the same cells then times vLLM at once.")
  private boolean vllmWarm;

  @Option(names = "--json", paramLabel = "FILE", description = "JSON file to write.")
  private @Nullable Path json;

  @Option(names = "--plot", paramLabel = "FILE", description = "PNG file to write.")
  private @Nullable Path plot;

  @Option(
      names = "--from",
      paramLabel = "FILE",
      description = "Show an earlier run's JSON file instead of measuring; needs no device.")
  private @Nullable Path from;

  @Option(
      names = "--tune-table",
      arity = "1..*",
      paramLabel = "FILE",
      description =
          "Print the built-in table of block sizes that earlier runs' JSON files speak for, and"
              + " nothing else; needs no device.")
  private List<Path> tuneTable = List.of();

  private BenchReport report =
      new BenchReport(
          List.of(), "", "", "", "", 0, new BenchReport.Ceilings(0, false, null, null), List.of());

  /** Runs the command and ends the JVM. */
  public static void main(String[] args) {
    int code = 1;
    try {
      code = run(args);
    } catch (Error e) {
      System.err.println("bench-gpu: failed");
      e.printStackTrace();
    }
    // TornadoVM's threads would keep the JVM
    System.exit(code);
  }

  /** Runs the command and returns its exit code. */
  static int run(String... args) {
    BenchGpu command = new BenchGpu();
    CommandLine line = new CommandLine(command);
    line.setExecutionExceptionHandler(
        (exception, _, _) -> {
          if (exception instanceof IllegalArgumentException || exception instanceof IOException) {
            System.err.println("bench-gpu: " + exception.getMessage());
          } else {
            exception.printStackTrace();
          }
          return 1;
        });
    command.arguments = List.of(args);
    return line.execute(args);
  }

  private List<String> arguments = List.of();

  @Override
  public Integer call() throws Exception {
    if (!tuneTable.isEmpty()) {
      return printTuneTable();
    }
    if (from != null) {
      return show(from);
    }
    if (types.isEmpty()) {
      types = serving ? List.of("bf16") : List.of("bf16", "fp16");
    }
    if (ranks.isEmpty()) {
      ranks = serving ? List.of(64) : List.of(16, 64);
    }
    Map<String, DType> dtypes =
        types.stream()
            .distinct()
            .collect(
                Collectors.toMap(type -> type, BenchGpu::dtype, (a, b) -> a, LinkedHashMap::new));
    Options.requireAtLeastOne("--ranks", ranks);
    Options.requireAtLeastOne("--tokens", tokens);
    requireFitting();
    if (vllmWarm && vllm != null) {
      return warm(vllm, dtypes);
    }
    if (serving) {
      return measure(servingCells(dtypes));
    }
    return layer ? measure(layerCells(dtypes)) : measureKernels(dtypes);
  }

  private int printTuneTable() throws IOException {
    List<BenchReport> reports = new ArrayList<>();
    for (Path file : tuneTable) {
      reports.add(BenchReport.read(file));
    }
    System.out.print(TuneTable.text(reports));
    return 0;
  }

  /** Has vLLM's kernels compiled. */
  private int warm(Path path, Map<String, DType> dtypes) throws IOException, InterruptedException {
    VllmDriver driver =
        serving
            ? BenchLayers.driver(servingCells(dtypes), path)
            : layer ? BenchLayers.driver(layerCells(dtypes), path) : kernelsDriver(path);
    return driver.with("--warm", List.of()).run(_ -> {});
  }

  /** Refuses options that do not fit each other. */
  private void requireFitting() {
    if (vllm != null && kind == Kernels.PORTABLE) {
      throw new IllegalArgumentException("--vllm is compared with --kernels tensor-core alone");
    }
    boolean folder = layer || serving;
    if (vllm != null && (folder ? !Files.isDirectory(vllm) : !Files.isRegularFile(vllm))) {
      throw new IllegalArgumentException(
          "--vllm must be a %s, got %s".formatted(folder ? "folder" : "file", vllm));
    }
    if (vllmWarm && vllm == null) {
      throw new IllegalArgumentException("--vllm-warm must come with --vllm");
    }
    if (parts && !layer) {
      throw new IllegalArgumentException("--parts must come with --layer");
    }
    if (variants && !layer) {
      throw new IllegalArgumentException("--variants must come with --layer");
    }
    if (serving && (layer || !cases.isEmpty() || !tokens.isEmpty())) {
      throw new IllegalArgumentException("--serving takes no --layer, --cases and --tokens");
    }
  }

  /** Prints and draws an earlier run. */
  private int show(Path file) throws IOException {
    if (vllm != null || json != null) {
      throw new IllegalArgumentException("--from shows what was measured: no --vllm, no --json");
    }
    if (layer) {
      return finish(LayerReport.read(file));
    }
    if (serving) {
      return finish(ServingReport.read(file));
    }
    report = BenchReport.read(file);
    System.out.print(report.table());
    draw();
    return exitCode();
  }

  /** Cases and batch sizes if they were left out. */
  private void chooseKernels() {
    if (cases.isEmpty()) {
      cases = BenchShape.ALL.stream().map(BenchShape::name).toList();
    }
    if (tokens.isEmpty()) {
      tokens = List.of(1, 8, 64, 1024, 8192);
    }
  }

  private int measureKernels(Map<String, DType> dtypes) throws IOException, InterruptedException {
    chooseKernels();
    List<BenchShape> shapes = cases.stream().map(BenchShape::named).toList();
    open();
    boolean complete = true;
    for (var type : dtypes.entrySet()) {
      for (BenchShape shape : shapes) {
        for (int rank : ranks) {
          complete &= measure(shape, rank, type.getKey(), type.getValue());
        }
      }
    }
    if (vllm != null) {
      complete &= measureVllm(vllm);
    }
    System.out.print(report.table());
    draw();
    return complete ? exitCode() : 1;
  }

  private BenchLayers.Cells layerCells(Map<String, DType> dtypes) {
    List<BenchShape> shapes =
        cases.isEmpty()
            ? BenchShape.LAYERS
            : cases.stream().distinct().map(BenchShape::layer).toList();
    List<Integer> sizes =
        tokens.isEmpty() ? List.of(1, 8, 80, 1024, 8192) : tokens.stream().distinct().toList();
    return new BenchLayers.Cells(
        shapes, dtypes, ranks, new BenchLayer.Graphs(sizes, parts, variants), sizes);
  }

  /** The layer at every batch size of a server's run. */
  private BenchLayers.Cells servingCells(Map<String, DType> dtypes) {
    return new BenchLayers.Cells(
        List.of(BenchShape.LAYERS.getFirst()),
        dtypes,
        ranks,
        new BenchLayer.Graphs(ServingReport.GRAPHS, false, false),
        List.copyOf(BatchTrace.of(ServingReport.LOAD).stepsByTokens().keySet()));
  }

  private int measure(BenchLayers.Cells cells) throws IOException, InterruptedException {
    BenchLayers layers = new BenchLayers(cells, vllm, this::save, layerRun());
    boolean complete = layers.measure();
    LayerReport made = layers.report();
    int code = serving ? finish(ServingReport.of(made)) : finish(made);
    return complete ? code : 1;
  }

  private void save(LayerReport made) throws IOException {
    if (json != null) {
      LayerReport.write(json, serving ? ServingReport.of(made) : made);
    }
  }

  private LayerReport.Run layerRun() {
    LayerReport.Run run =
        new LayerReport.Run(
            arguments,
            now(),
            device(kind).device(),
            DeviceTraits.version(),
            Runtime.version().toString(),
            seed,
            variants);
    System.err.println(run.device());
    return run;
  }

  private int finish(ServingReport report) throws IOException {
    System.out.print(report.table());
    if (plot != null) {
      report.draw(plot);
    }
    return report.timed().valid() ? 0 : 1;
  }

  /** Prints and draws layers. */
  private int finish(LayerReport layers) throws IOException {
    System.out.print(layers.table());
    if (plot != null) {
      LayerPlot.write(plot, layers);
    }
    return layers.valid() ? 0 : 1;
  }

  static DType dtype(String type) {
    return switch (type.toLowerCase(Locale.ROOT)) {
      case "bf16" -> DType.BF16;
      case "fp16" -> DType.F16;
      default -> throw new IllegalArgumentException("--types must be bf16 or fp16, got " + type);
    };
  }

  private static Availability.Usable device(Kernels kind) {
    Availability availability = new TornadoBackendProvider().probe();
    if (!(availability instanceof Availability.Usable usable)) {
      throw new IllegalArgumentException("the device cannot be used: " + availability);
    }
    if (kind == Kernels.TENSOR_CORE
        && !DeviceTraits.hasTensorCores(TornadoExecutionPlan.getDevice(0, 0))) {
      throw new IllegalArgumentException(
          "--kernels tensor-core needs TornadoVM's CUDA backend, and --kernels portable any, got "
              + usable.device());
    }
    return usable;
  }

  private static String now() {
    return Instant.now().truncatedTo(ChronoUnit.SECONDS).toString();
  }

  /** Measures the copy, after which the report can take cells. */
  private void open() throws IOException {
    Availability.Usable usable = device(kind);
    BenchCopy.Rate copy = BenchCopy.measure();
    System.err.printf(
        Locale.ROOT,
        "copy: %.2f TB/s%s%n",
        copy.bytesPerSecond() / 1e12,
        copy.correct() ? "" : ", WRONG");
    report =
        new BenchReport(
            arguments,
            now(),
            usable.device(),
            DeviceTraits.version(),
            Runtime.version().toString(),
            seed,
            new BenchReport.Ceilings(copy.bytesPerSecond(), copy.correct(), null, null),
            List.of());
    save();
  }

  /** Whether it came to an end; an error is printed, and the other shapes go on. */
  private boolean measure(BenchShape shape, int rank, String name, DType type) throws IOException {
    long start = System.nanoTime();
    try (BenchSubject kernels =
        kind == Kernels.TENSOR_CORE
            ? new BenchKernels(shape, rank, type, tokens, seed)
            : new BenchLoops(shape, rank, type, tokens, seed)) {
      for (int count : tokens) {
        BenchReport.Cell cell = cell(kernels, kernels.batch(count), name);
        report = report.withCell(cell);
        save();
        System.err.println(line(cell));
      }
    } catch (RuntimeException | Error e) {
      // TornadoVM throws its own as Error, and a class named here would be needed without it, too
      System.err.printf("bench-gpu: %s, %s, rank %d failed:%n", shape.name(), name, rank);
      e.printStackTrace();
      return false;
    }
    System.err.printf(Locale.ROOT, "took %.1f s%n", (System.nanoTime() - start) / 1e9);
    return true;
  }

  private BenchReport.Cell cell(BenchSubject kernels, Batch batch, String type) {
    int chosen = kernels.chosenBlockSize(batch);
    List<BenchReport.Variant> variants = new ArrayList<>();
    for (BenchSubject.Result result : kernels.measure(batch)) {
      variants.add(
          new BenchReport.Variant(
              result.blockSize(),
              result.time().nanos() / 1e3,
              result.time().callNanos() / 1e3,
              result.worstError(),
              result.blockSize() == chosen));
    }
    BenchShape shape = kernels.shape();
    Workload.Sizes sizes = kernels.sizes();
    double bytes = sizes.movedBytes(shape.call(), batch);
    double flop = sizes.flops(shape.call(), batch);
    return new BenchReport.Cell(
        shape.name(),
        type,
        sizes.rank(),
        batch.tokens(),
        batch.distinctExperts(),
        bytes,
        flop,
        report.ceilings().floorMicros(bytes, flop),
        variants,
        null);
  }

  private static String line(BenchReport.Cell cell) {
    return String.format(
        Locale.ROOT,
        "%s %s rank %d, %d tokens: %s; floor %.1f us",
        cell.shape(),
        cell.type(),
        cell.rank(),
        cell.tokens(),
        cell.variants().stream().map(BenchGpu::text).collect(Collectors.joining("; ")),
        cell.floorMicros());
  }

  private static String text(BenchReport.Variant variant) {
    return String.format(
        Locale.ROOT,
        "block %d%s %.1f us, call %.0f us, error %.2f",
        variant.block(),
        variant.chosen() ? " (chosen)" : "",
        variant.micros(),
        variant.callMicros(),
        variant.worstError());
  }

  private VllmDriver kernelsDriver(Path operator) {
    chooseKernels();
    return new VllmDriver("bench-vllm.py", operator)
        .with("--cases", cases)
        .with("--types", types)
        .with("--ranks", ranks)
        .with("--tokens", tokens);
  }

  /** Whether vLLM's operator gave a right result for every cell. */
  private boolean measureVllm(Path operator) throws IOException, InterruptedException {
    int status =
        kernelsDriver(operator)
            .run(
                line -> {
                  report = report.withVllmLine(line);
                  save();
                });
    long missing =
        report.cells().stream().filter(cell -> cell.vllm() == null || !cell.vllm().valid()).count();
    if (status != 0 || missing > 0) {
      System.err.printf(
          "bench-gpu: vLLM's driver ended with code %d, %d cells without a right result of it%n",
          status, missing);
      return false;
    }
    return true;
  }

  private void save() throws IOException {
    if (json != null) {
      report.write(json);
    }
  }

  private void draw() throws IOException {
    if (plot != null) {
      BenchPlot.write(plot, report);
    }
  }

  private int exitCode() {
    return report.valid() ? 0 : 1;
  }
}
