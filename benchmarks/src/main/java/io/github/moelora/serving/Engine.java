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
import java.util.Objects;
import java.util.Random;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.jspecify.annotations.Nullable;

/**
 * Decodes as servers do: each step computes one token of every request that has its adapter; who
 * comes joins the next step, who is done leaves. Used by one thread, but for {@link #join}.
 */
final class Engine implements AutoCloseable {
  private static final long IDLE_MILLIS = 1;

  /** A request that has a slot. */
  private static final class Active {
    final int slot;
    final CompletableFuture<Void> done = new CompletableFuture<>();
    int tokensLeft;

    Active(int slot, int tokens) {
      this.slot = slot;
      this.tokensLeft = tokens;
    }
  }

  private final MoeLora lora;
  private final MoeLoraConfig config;
  private final Step step;
  private final @Nullable LoadAdapters checked;
  private final Random random;
  private final BlockingQueue<Active> joining = new LinkedBlockingQueue<>();
  private final List<Active> active = new ArrayList<>();
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
  private long elements;

  /**
   * @param checked compares every result with float64, with the weights of these; null to be fast
   */
  Engine(MoeLora lora, @Nullable LoadAdapters checked, long seed) {
    this.lora = lora;
    this.checked = checked;
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

  /** Decodes a request whose adapter is in a slot; returns when it is done. Any thread. */
  void join(int slot, int tokenCount) {
    Active request = new Active(slot, tokenCount);
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
    decode(active.size());
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

  private void decode(int count) {
    int perToken = config.expertsPerToken();
    for (int t = 0; t < count; t++) {
      adapterIds.setAtIndex(ValueLayout.JAVA_INT, t, active.get(t).slot);
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
    int pairs = out.rows();
    int count = pairs / config.expertsPerToken();
    List<@Nullable LoraAdapter> bySlot = new ArrayList<>();
    for (int slot = 0; slot < config.slots(); slot++) {
      bySlot.add(null);
    }
    for (Active request : active) {
      if (bySlot.get(request.slot) == null) {
        String name = Objects.requireNonNull(lora.adapterName(request.slot));
        bySlot.set(request.slot, adapters.file(name));
      }
    }
    Reference.Result expected =
        Reference.compute(
            new Reference.Inputs(
                config.model(),
                call,
                bySlot,
                expertIds.asSlice(0, 4L * pairs).toArray(ValueLayout.JAVA_INT),
                routingWeights.asSlice(0, 4L * pairs).toArray(ValueLayout.JAVA_FLOAT),
                adapterIds.asSlice(0, 4L * count).toArray(ValueLayout.JAVA_INT),
                in,
                Matrix.of(
                    MemorySegment.ofArray(new byte[pairs * out.columns() * out.type().bytes()]),
                    out.type(),
                    pairs,
                    out.columns())));
    for (int p = 0; p < pairs; p++) {
      for (int c = 0; c < out.columns(); c++) {
        double error = Math.abs(out.get(p, c) - expected.values()[p][c]);
        // written so that a NaN fails
        if (!(error <= expected.bounds()[p][c])) {
          throw new IllegalStateException(
              "step %d, %s: y[%d,%d] must be %s within %s, got %s"
                  .formatted(
                      steps,
                      call,
                      p,
                      c,
                      expected.values()[p][c],
                      expected.bounds()[p][c],
                      out.get(p, c)));
        }
      }
    }
    elements += (long) pairs * out.columns();
  }

  private static void sendHome(Active request) {
    request.done.completeExceptionally(new IllegalStateException("the engine has ended"));
  }

  /** Steps so far. */
  long steps() {
    return steps;
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
