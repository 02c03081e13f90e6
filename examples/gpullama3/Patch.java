import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;

/**
 * Changes a checkout of GPULlama3.java in place: {@code java Patch.java CHECKOUT MODE...}.
 *
 * <ul>
 *   <li>{@code remove} takes out every change that it made before;
 *   <li>{@code mend} mends what keeps the engine from right results on some devices;
 *   <li>{@code adapters} calls {@code io.github.moelora.gpullama3.Adapters} where a layer needs it;
 *   <li>{@code widen} reads the scales of Q8_0 without float16, for devices that have none. It is
 *       meant for a copy of the sources: {@code remove} does not undo it.
 * </ul>
 *
 * <p>Each line that it adds ends in a mark; a line that it replaces stays behind a mark of its own.
 * So {@code remove} finds them all, and the other modes may run again after it. It holds no text of
 * the engine, only patterns that find a place. A pattern that is not found exactly once stops it
 * before any file is written.
 */
final class Patch {
  private static final String ADDED = " // moe-lora";
  private static final String REPLACED = "// moe-lora instead of: ";
  private static final int MOST_LINES = 60;
  private static final String SOURCES = "src/main/java/org/beehive/gpullama3/";
  private static final String CALL = "io.github.moelora.gpullama3.Adapters.";

  /** Where in a file an edit goes, and what it is. */
  private sealed interface Edit {}

  /**
   * New lines behind the line, or the end of the statement, that begins at the first match of
   * {@code place} behind the match of {@code scope}.
   */
  private record Behind(String scope, String place, boolean statement, String... lines)
      implements Edit {}

  /** New lines before the first match of {@code place} behind that of {@code scope}. */
  private record Before(String scope, String place, String... lines) implements Edit {}

  /** Another text for {@code part} in the first line that has it, behind the match of scope. */
  private record Replace(String scope, String part, String text) implements Edit {}

  private static Map<String, List<Edit>> mend() {
    Map<String, List<Edit>> edits = new LinkedHashMap<>();
    // threads may write the sums of up while others still read the sum of gate
    String gate = "float gate = localSums\\[0\\];";
    edits.put(
        "tornadovm/kernels/Qwen2MoEKernels.java",
        List.of(
            new Behind(
                "void fusedRoutedExpertsGateUpSwiGLUQ8_0\\(",
                gate,
                false,
                "context.localBarrier();"),
            new Behind(
                "void sharedExpertGateUpSwiGLUQ8_0\\(", gate, false, "context.localBarrier();")));
    // the first work-group sums up the others' results without waiting for them, except in a kernel
    // of its own
    edits.put(
        "tornadovm/layers/type/q8_0/LogitsQ8_0Layer.java",
        List.of(
            new Replace(
                "setupLogitsTaskGraph\\(",
                "schedulerType == SchedulerType.NON_NVIDIA",
                "schedulerType == SchedulerType.NON_NVIDIA || weights instanceof"
                    + " Qwen2TornadoWeights"),
            new Behind(
                "updateGridScheduler\\(",
                "addWorkerGrid\\(\"logits.rms_reduce\"",
                false,
                "tornadoForwardScheduler.addWorkerGrid(\"logits.rms_finalize\","
                    + " WorkerGridFactory.createSingleWorker());")));
    return edits;
  }

  private static Map<String, List<Edit>> adapters() {
    Map<String, List<Edit>> edits = new LinkedHashMap<>();
    String inUse = CALL + "inUse(moeState.adapters)";
    String router = "weights.routerGateLayered[layerIndex].asFloatArray()";
    String routerAndScore =
        CALL
            + "router(moeState.adapters, layerIndex, "
            + router
            + ", weights.sharedGateInputLayered[layerIndex].asFloatArray())";
    edits.put(
        "inference/state/State.java",
        List.of(
            new Behind(
                "class State ",
                "IntArray positionHolder;",
                false,
                "public io.github.moelora.gpullama3.Adapters adapters;")));
    edits.put(
        "inference/state/Qwen2MoEState.java",
        List.of(
            new Replace("wrapRouterLogits =", "c.numberOfExperts()", "c.numberOfExperts() + 1"),
            new Replace(
                "wrapRoutingWeights =", "c.numberOfExpertsUsed()", "c.numberOfExpertsUsed() + 1")));
    edits.put(
        "tornadovm/kernels/Qwen2MoEKernels.java",
        List.of(
            new Behind(
                "void fusedRoutedExpertsGateUpSwiGLUQ8_0\\(",
                "FloatArray expertHidden,",
                false,
                "FloatArray delta, int withDelta,"),
            new Behind(
                "void fusedRoutedExpertsGateUpSwiGLUQ8_0\\(",
                "float up = localSums\\[0\\];",
                false,
                "if (withDelta != 0) {",
                "    gate += delta.get(2 * slot * moeHiddenDim + rowId);",
                "    up += delta.get((2 * slot + 1) * moeHiddenDim + rowId);",
                "}")));
    edits.put(
        "tornadovm/layers/type/q8_0/Qwen2MoEQ8_0FFNLayers.java",
        List.of(
            new Replace(
                "WorkerGrid routerWorker",
                "config.numberOfExperts()",
                "config.numberOfExperts() + " + inUse),
            new Replace("createFFNLayerTaskGraph\\(", router, routerAndScore),
            new Replace("task\\(\"router_projection\"", router, routerAndScore),
            new Replace(
                "task\\(\"router_projection\"",
                "config.numberOfExperts()",
                "config.numberOfExperts() + " + inUse),
            new Before(
                "void configureRoutedExperts\\(",
                "task\\(\"router_softmax_topk\"",
                "if (moeState.adapters == null)"),
            new Behind(
                "void configureRoutedExperts\\(",
                "task\\(\"router_softmax_topk\"",
                true,
                CALL + "gateUp(moeState.adapters, layer, layerIndex, moeState.wrapRouterLogits,",
                "        new io.github.moelora.tornado.EngineRouting(moeState.wrapSelectedExperts,"
                    + " moeState.wrapRoutingWeights), moeState.wrapXb);"),
            new Replace(
                "task\\(\"routed_experts_gate_up\"",
                "moeState.wrapExpertGate,",
                "moeState.wrapExpertGate, %1$sdelta(moeState.adapters, moeState.wrapRouterLogits), %1$sinUse(moeState.adapters),"
                    .formatted(CALL)),
            new Before(
                "void configureRoutedExperts\\(",
                "task\\(\"shared_expert_gate_and_accumulate\"",
                "if (moeState.adapters == null)"),
            new Behind(
                "void configureRoutedExperts\\(",
                "task\\(\"shared_expert_gate_and_accumulate\"",
                true,
                CALL
                    + "down(moeState.adapters, layer, layerIndex, moeState.wrapExpertGate,"
                    + " moeState.wrapSharedOutput, moeState.wrapX);")));
    edits.put(
        "tornadovm/TornadoVMMasterPlanSingleToken.java",
        List.of(
            new Before(
                "TornadoExecutionPlan createExecutionPlan\\(",
                "return new TornadoExecutionPlan\\(",
                "if (state.adapters != null) {",
                "    return state.adapters.plan(taskGraphs,"
                    + " tornadoVMForwardPlan.getGridScheduler());",
                "}"),
            new Behind(
                "class ",
                "FloatArray tornadoVMForwardDecode\\(",
                false,
                CALL + "begin(state.adapters);"),
            new Behind(
                "class ",
                "void forceCopyInReadOnlyData\\(",
                false,
                CALL + "begin(state.adapters);")));
    return edits;
  }

  private final Path sources;
  private final Map<Path, List<String>> files = new LinkedHashMap<>();
  private final List<String> report = new ArrayList<>();

  private Patch(Path sources) {
    this.sources = sources;
  }

  public static void main(String[] args) throws IOException {
    if (args.length < 2) {
      throw new IllegalArgumentException("usage: java Patch.java CHECKOUT MODE...");
    }
    Path sources = Path.of(args[0], SOURCES);
    if (!Files.isDirectory(sources)) {
      System.err.println("no checkout of GPULlama3.java: " + sources + " is not there");
      System.exit(1);
    }
    Patch patch = new Patch(sources);
    try {
      for (String mode : List.of(args).subList(1, args.length)) {
        patch.apply(mode);
      }
    } catch (EngineChanged changed) {
      System.err.println(
          "the engine has changed, and nothing was written: " + changed.getMessage());
      System.exit(1);
    }
    patch.write();
    patch.report.forEach(System.out::println);
  }

  private void apply(String mode) throws IOException {
    switch (mode) {
      case "remove" -> remove();
      case "mend" -> edit(mode, mend());
      case "adapters" -> edit(mode, adapters());
      case "widen" -> widen();
      default ->
          throw new IllegalArgumentException(
              "MODE must be remove, mend, adapters or widen, got " + mode);
    }
  }

  private void edit(String mode, Map<String, List<Edit>> edits) throws IOException {
    int count = 0;
    for (Map.Entry<String, List<Edit>> entry : edits.entrySet()) {
      List<String> lines = lines(sources.resolve(entry.getKey()));
      for (Edit edit : entry.getValue()) {
        count += apply(entry.getKey(), lines, edit);
      }
      report.add(mode + ": " + entry.getKey());
    }
    report.add("%s: %d lines of the engine added or replaced".formatted(mode, count));
    if (count > MOST_LINES) {
      throw new IllegalStateException(
          "at most %d lines of the engine may change, got %d".formatted(MOST_LINES, count));
    }
  }

  private int apply(String file, List<String> lines, Edit edit) {
    switch (edit) {
      case Behind(String scope, String place, boolean statement, String[] added) -> {
        int at = find(file, lines, scope, place);
        int end = at;
        while (statement && !lines.get(end).stripTrailing().endsWith(";")) {
          end++;
        }
        String indent =
            indent(lines.get(at)) + (lines.get(end).stripTrailing().endsWith("{") ? "    " : "");
        insert(lines, end + 1, indent, added);
        return added.length;
      }
      case Before(String scope, String place, String[] added) -> {
        int at = find(file, lines, scope, place);
        insert(lines, at, indent(lines.get(at)), added);
        return added.length;
      }
      case Replace(String scope, String part, String text) -> {
        int at = find(file, lines, scope, Pattern.quote(part));
        String old = lines.get(at);
        lines.set(at, indent(old) + REPLACED + old.strip());
        lines.add(at + 1, old.replace(part, text) + ADDED);
        return 1;
      }
    }
  }

  private static void insert(List<String> lines, int at, String indent, String[] added) {
    for (int i = 0; i < added.length; i++) {
      lines.add(at + i, indent + added[i] + ADDED);
    }
  }

  private static int find(String file, List<String> lines, String scope, String place) {
    List<Integer> scopes = new ArrayList<>();
    Pattern pattern = Pattern.compile(scope);
    for (int i = 0; i < lines.size(); i++) {
      if (isCode(lines.get(i)) && pattern.matcher(lines.get(i)).find()) {
        scopes.add(i);
      }
    }
    if (scopes.isEmpty()) {
      throw new EngineChanged("%s has no line that matches %s".formatted(file, scope));
    }
    Pattern wanted = Pattern.compile(place);
    for (int i = scopes.getFirst(); i < lines.size(); i++) {
      if (isCode(lines.get(i)) && wanted.matcher(lines.get(i)).find()) {
        return i;
      }
    }
    throw new EngineChanged(
        "%s has no line that matches %s behind the one that matches %s"
            .formatted(file, place, scope));
  }

  private static boolean isCode(String line) {
    String text = line.strip();
    return !text.startsWith("//") && !text.startsWith("*") && !text.startsWith("/*");
  }

  private static String indent(String line) {
    return line.substring(0, line.length() - line.stripLeading().length());
  }

  private void remove() throws IOException {
    for (Path file : all()) {
      String text = Files.readString(file);
      if (!text.contains(ADDED)) {
        continue;
      }
      List<String> lines = lines(file);
      lines.removeIf(line -> line.endsWith(ADDED));
      lines.replaceAll(
          line ->
              line.strip().startsWith(REPLACED)
                  ? indent(line) + line.strip().substring(REPLACED.length())
                  : line);
    }
  }

  /** Lets a kernel put a float16 together from its two bytes, where it reads one of a ByteArray. */
  private void widen() throws IOException {
    Pattern named = Pattern.compile("HalfFloat (\\w+) = (\\w+)\\.getHalfFloat\\((.+)\\);");
    Pattern direct = Pattern.compile("(\\w+)\\.getHalfFloat\\((\\w+)\\)\\.getFloat32\\(\\)");
    String read = "io.github.moelora.gpullama3.Halves.read(";
    int count = 0;
    for (Path file : all()) {
      if (!file.getParent().endsWith("kernels")
          || !Files.readString(file).contains(".getHalfFloat(")) {
        continue;
      }
      List<String> lines = lines(file);
      for (int i = 0; i < lines.size(); i++) {
        Matcher matcher = named.matcher(lines.get(i));
        if (matcher.find()) {
          String name = matcher.group(1);
          lines.set(i, matcher.replaceFirst("float $1 = " + read + "$2, $3);"));
          for (int j = i + 1; j < lines.size() && !lines.get(j).isBlank() || j < i + 3; j++) {
            lines.set(j, lines.get(j).replace(name + ".getFloat32()", name));
          }
          count++;
        } else {
          String line = direct.matcher(lines.get(i)).replaceAll(read + "$1, $2)");
          count += line.equals(lines.get(i)) ? 0 : 1;
          lines.set(i, line);
        }
      }
    }
    report.add("widen: %d reads of a float16".formatted(count));
  }

  private List<Path> all() throws IOException {
    try (Stream<Path> walk = Files.walk(sources)) {
      return walk.filter(path -> path.toString().endsWith(".java")).sorted().toList();
    }
  }

  private List<String> lines(Path file) throws IOException {
    List<String> known = files.get(file);
    if (known != null) {
      return known;
    }
    if (!Files.isRegularFile(file)) {
      throw new EngineChanged(sources.relativize(file) + " is not there");
    }
    // as split, so that an end of file without a newline stays one
    List<String> lines = new ArrayList<>(List.of(Files.readString(file).split("\n", -1)));
    files.put(file, lines);
    return lines;
  }

  private void write() throws IOException {
    for (Map.Entry<Path, List<String>> entry : files.entrySet()) {
      Files.writeString(entry.getKey(), String.join("\n", entry.getValue()));
    }
  }

  /** A place that the patterns do not find. */
  private static final class EngineChanged extends RuntimeException {
    EngineChanged(String message) {
      super(message);
    }
  }
}
