package io.github.moelora.example;

import io.github.moelora.*;
import io.github.moelora.cache.*;
import java.lang.foreign.MemorySegment;
import java.util.*;
import java.util.concurrent.*;

/** Continuous batching: one thread runs a step of whatever tokens wait, then the next. */
public final class BatchServer implements AutoCloseable {
  /**
   * A token of a request: its adapter's slot, its input, its experts, and where the answer goes.
   */
  private record Token(int slot, float[] x, int[] experts, CompletableFuture<float[]> answer) {}

  private final MoeLoraConfig config;
  private final AdapterCache cache;
  private final Step step;
  private final BlockingQueue<Token> tokens = new LinkedBlockingQueue<>();
  private final Thread thread;

  public BatchServer(MoeLora lora, AdapterCache cache) {
    this.config = lora.config();
    this.cache = cache;
    this.step = lora.newStep();
    this.thread = Thread.ofPlatform().name("steps").start(this::serve);
  }

  /** One request: every token of it sees the same version of the adapter. */
  public List<float[]> request(String adapter, List<float[]> inputs, int[] experts)
      throws InterruptedException {
    List<float[]> answers = new ArrayList<>();
    try (Lease lease = cache.acquire(adapter)) {
      for (float[] x : inputs) {
        Token token = new Token(lease.slot(), x, experts, new CompletableFuture<>());
        tokens.add(token);
        answers.add(token.answer().join());
      }
    }
    return answers;
  }

  private void serve() {
    List<Token> batch = new ArrayList<>();
    try {
      while (true) {
        batch.add(tokens.take());
        tokens.drainTo(batch, config.maxTokens() - 1);
        runStep(batch);
        batch.clear();
      }
    } catch (InterruptedException e) {
      step.close();
    }
  }

  /** What the adapters add to gate and up of layer 0: {@code [K, 2I]} for each token. */
  private void runStep(List<Token> batch) {
    int perToken = config.expertsPerToken();
    int width = config.model().outputWidth(Projection.GATE_UP);
    int hidden = config.model().hiddenSize();
    float[] x = new float[batch.size() * hidden];
    float[] y = new float[batch.size() * perToken * width];
    int[] experts = new int[batch.size() * perToken];
    int[] slots = new int[batch.size()];
    for (int t = 0; t < batch.size(); t++) {
      System.arraycopy(batch.get(t).x(), 0, x, t * hidden, hidden);
      System.arraycopy(batch.get(t).experts(), 0, experts, t * perToken, perToken);
      slots[t] = batch.get(t).slot();
    }
    MemorySegment weights = MemorySegment.ofArray(new float[experts.length]);
    step.plan(slots.length, MemorySegment.ofArray(experts), weights, MemorySegment.ofArray(slots));
    step.run(
        ProjectionCall.gateUp(0),
        Matrix.of(MemorySegment.ofArray(x), DType.F32, slots.length, hidden),
        Matrix.of(MemorySegment.ofArray(y), DType.F32, experts.length, width));
    for (int t = 0; t < batch.size(); t++) {
      int from = t * perToken * width;
      batch.get(t).answer().complete(Arrays.copyOfRange(y, from, from + perToken * width));
    }
  }

  @Override
  public void close() {
    thread.interrupt();
  }
}
