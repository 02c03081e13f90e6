package io.github.moelora.serving;

import io.github.moelora.DType;
import io.github.moelora.LoraAdapter;
import io.github.moelora.Matrix;
import io.github.moelora.MoeLora;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.ProjectionCall;
import io.github.moelora.Step;
import io.github.moelora.reference.Reference;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;

/**
 * Decodes as servers do: each step computes one token of every request that has its adapter; who
 * comes joins the next step, who is done leaves. Used by one thread, but for {@link #join}.
 */
final class Engine implements AutoCloseable {
  private static final long IDLE_MILLIS = 1;

  /** A request that has a slot. */
  private static final class Active {
    final int adapter;
    final int slot;
    final CompletableFuture<Void> done = new CompletableFuture<>();
    int tokensLeft;

    Active(int adapter, int slot, int tokens) {
      this.adapter = adapter;
      this.slot = slot;
      this.tokensLeft = tokens;
    }
  }

  private final MoeLora lora;
  private final MoeLoraConfig config;
  private final Step step;
  private final @Nullable LoadAdapters checked;
  private final long seed;
  private final Random random;
  private final BlockingQueue<Active> joining = new LinkedBlockingQueue<>();
  private final List<Active> active = new ArrayList<>();
  private final List<int[]> adaptersOfSteps = new ArrayList<>();
  private final Arena arena = Arena.ofShared();
  private final MemorySegment expertIds;
  private final MemorySegment routingWeights;
  private final MemorySegment adapterIds;
  private final Matrix x;
  private final Matrix y;
  private final Matrix middle;
  private final Matrix z;
  private volatile boolean closed;
  private long steps;
  private long tokens;
  private long stepNanos;
  private long elements;

  /**
   * @param checked compares every result with float64, with the weights of these; null to be fast
   */
  Engine(MoeLora lora, @Nullable LoadAdapters checked, long seed) {
    this.lora = lora;
    this.checked = checked;
    this.seed = seed;
    config = lora.config();
    random = new Random(seed);
    int pairs = config.maxPairs();
    int hidden = config.model().hiddenSize();
    int inner = config.model().intermediateSize();
    expertIds = arena.allocate(ValueLayout.JAVA_INT, pairs);
    routingWeights = arena.allocate(ValueLayout.JAVA_FLOAT, pairs);
    adapterIds = arena.allocate(ValueLayout.JAVA_INT, config.maxTokens());
    x = matrix(config.maxTokens(), hidden);
    y = matrix(pairs, 2 * inner);
    middle = matrix(pairs, inner);
    z = matrix(pairs, hidden);
    for (Matrix input : List.of(x, middle)) {
      for (int i = 0; i < input.rows(); i++) {
        for (int j = 0; j < input.columns(); j++) {
          input.set(i, j, (float) random.nextGaussian());
        }
      }
    }
    step = lora.newStep();
  }

  private Matrix matrix(int rows, int columns) {
    DType type = config.weightType();
    return Matrix.of(arena.allocate((long) rows * columns * type.bytes(), 64), type, rows, columns);
  }

  /**
   * Computes batches of many sizes, of one adapter and of all, so that no kernel is compiled later.
   *
   * @param slots that hold adapters
   */
  void warmUp(int[] slots) {
    for (int count = 1; ; count = Math.min(config.maxTokens(), count + (count + 1) / 2)) {
      int[] one = new int[count];
      int[] all = new int[count];
      for (int t = 0; t < count; t++) {
        one[t] = slots[0];
        all[t] = slots[t % slots.length];
      }
      decode(one);
      decode(all);
      if (count == config.maxTokens()) {
        // experts of the steps that follow are the same whatever came before
        random.setSeed(seed);
        return;
      }
    }
  }

  /**
   * Computes the steps of another engine, all of whose adapters are in the slots of their numbers.
   *
   * @param batches the adapters of each step's tokens
   */
  void replay(List<int[]> batches) {
    for (int[] batch : batches) {
      decode(batch);
      steps++;
      tokens += batch.length;
    }
  }

  /** For each step so far, the adapters of its tokens, unless results are checked. */
  List<int[]> adaptersOfSteps() {
    return adaptersOfSteps;
  }

  /**
   * Decodes a request whose adapter is in a slot; returns when it is done. Any thread.
   *
   * @param adapter its number in the trace
   */
  void join(int adapter, int slot, int tokenCount) {
    Active request = new Active(adapter, slot, tokenCount);
    joining.add(request);
    if (closed) {
      sendHome(request);
    }
    request.done.join();
  }

  /** Runs a step if a request is there. */
  void advance() throws InterruptedException {
    if (active.isEmpty()) {
      Active first = joining.poll(IDLE_MILLIS, TimeUnit.MILLISECONDS);
      if (first == null) {
        return;
      }
      active.add(first);
    }
    joining.drainTo(active, config.maxTokens() - active.size());
    if (checked == null) {
      adaptersOfSteps.add(active.stream().mapToInt(request -> request.adapter).toArray());
    }
    decode(active.stream().mapToInt(request -> request.slot).toArray());
    steps++;
    tokens += active.size();
    List<Active> rest = new ArrayList<>();
    for (Active request : active) {
      request.tokensLeft--;
      if (request.tokensLeft == 0) {
        request.done.complete(null);
      } else {
        rest.add(request);
      }
    }
    active.clear();
    active.addAll(rest);
  }

  private void decode(int[] slots) {
    long start = System.nanoTime();
    int count = slots.length;
    int perToken = config.expertsPerToken();
    for (int t = 0; t < count; t++) {
      adapterIds.setAtIndex(ValueLayout.JAVA_INT, t, slots[t]);
      int first = random.nextInt(config.model().experts());
      for (int k = 0; k < perToken; k++) {
        int expert = (first + k) % config.model().experts();
        expertIds.setAtIndex(ValueLayout.JAVA_INT, t * perToken + k, expert);
        routingWeights.setAtIndex(ValueLayout.JAVA_FLOAT, t * perToken + k, random.nextFloat());
      }
    }
    step.plan(count, expertIds, routingWeights, adapterIds);
    for (int layer : config.model().layers()) {
      run(ProjectionCall.gateUp(layer).deltaOnly(), x, y, count);
      run(ProjectionCall.down(layer).deltaOnly(), middle, z, count);
    }
    stepNanos += System.nanoTime() - start;
  }

  private void run(ProjectionCall call, Matrix in, Matrix out, int count) {
    int pairs = count * config.expertsPerToken();
    Matrix rows = in.rows(0, call.pairRows() ? pairs : count);
    Matrix result = out.rows(0, pairs);
    if (checked == null) {
      step.run(call, rows, result);
      return;
    }
    result.data().fill((byte) -1); // NaN
    step.run(call, rows, result);
    check(call, rows, result, checked);
  }

  private void check(ProjectionCall call, Matrix in, Matrix out, LoadAdapters adapters) {
    List<@Nullable LoraAdapter> bySlot = new ArrayList<>();
    for (int slot = 0; slot < config.slots(); slot++) {
      String name = lora.adapterName(slot);
      bySlot.add(name == null ? null : adapters.file(name));
    }
    int count = out.rows() / config.expertsPerToken();
    IntStream.range(0, count).parallel().forEach(t -> checkToken(t, call, in, out, bySlot));
    elements += (long) out.rows() * out.columns();
  }

  private void checkToken(
      int t, ProjectionCall call, Matrix in, Matrix out, List<@Nullable LoraAdapter> bySlot) {
    int pairs = config.expertsPerToken();
    long first = 4L * t * pairs;
    Reference.Result expected =
        Reference.compute(
            new Reference.Inputs(
                config.model(),
                call,
                bySlot,
                expertIds.asSlice(first, 4L * pairs).toArray(ValueLayout.JAVA_INT),
                routingWeights.asSlice(first, 4L * pairs).toArray(ValueLayout.JAVA_FLOAT),
                new int[] {adapterIds.getAtIndex(ValueLayout.JAVA_INT, t)},
                call.pairRows() ? in.rows(t * pairs, pairs) : in.rows(t, 1),
                Matrix.of(
                    MemorySegment.ofArray(new byte[pairs * out.columns() * out.type().bytes()]),
                    out.type(),
                    pairs,
                    out.columns())));
    compare(call, expected, out.rows(t * pairs, pairs), t * pairs);
  }

  private void compare(ProjectionCall call, Reference.Result expected, Matrix out, int firstPair) {
    for (int p = 0; p < out.rows(); p++) {
      for (int c = 0; c < out.columns(); c++) {
        double error = Math.abs(out.get(p, c) - expected.values()[p][c]);
        // written so that a NaN fails
        if (!(error <= expected.bounds()[p][c])) {
          throw new IllegalStateException(
              "step %d, %s: y[%d,%d] must be %s within %s, got %s"
                  .formatted(
                      steps,
                      call,
                      firstPair + p,
                      c,
                      expected.values()[p][c],
                      expected.bounds()[p][c],
                      out.get(p, c)));
        }
      }
    }
  }

  private static void sendHome(Active request) {
    request.done.completeExceptionally(new IllegalStateException("the engine has ended"));
  }

  /** Steps so far. */
  long steps() {
    return steps;
  }

  /** Time within steps so far, the warm-up included. */
  double stepSeconds() {
    return stepNanos / 1e9;
  }

  /** Tokens so far. */
  long tokens() {
    return tokens;
  }

  /** Results compared with float64 so far, and equal within their bounds. */
  long elements() {
    return elements;
  }

  /** Sends everybody home, done or not. */
  @Override
  public void close() {
    closed = true;
    List<Active> left = new ArrayList<>(active);
    joining.drainTo(left);
    left.forEach(Engine::sendHome);
    step.close();
    arena.close();
  }
}
