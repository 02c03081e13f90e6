package io.github.moelora.serving;

import io.github.moelora.MoeLora;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.cache.AdapterCache;
import io.github.moelora.cache.AdapterSource;
import io.github.moelora.cache.CacheLimits;
import io.github.moelora.cache.CacheListener;
import io.github.moelora.cache.CacheStats;
import io.github.moelora.cache.Lease;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.atomic.AtomicInteger;
import org.jspecify.annotations.Nullable;

/**
 * Clients on virtual threads who ask for adapters as a trace tells, and an {@link Engine} that
 * decodes their tokens.
 *
 * @param config sizes; its slots are those of the cache
 * @param backend name of the backend
 * @param requests clients at once
 * @param limits of the cache
 * @param check whether every result is compared with float64
 * @param changeEvery after so many requests the file of one adapter changes; 0 for never
 */
record LoadRun(
    MoeLoraConfig config,
    String backend,
    int requests,
    CacheLimits limits,
    boolean check,
    int changeEvery) {

  /** When a run ends. */
  record Length(int warmupSteps, int steps) {}

  /**
   * What came of it, without the warm-up.
   *
   * @param stepSeconds time within steps, so without waiting for requests
   * @param acquireNanos times from request to lease, ascending
   * @param heapGrowth bytes of live heap at the end less those after the warm-up
   * @param residentGrowth bytes of the process's memory at the end less those after the warm-up, -1
   *     where the system does not tell
   * @param batches for each step from the first of the warm-up on, the adapters of its tokens;
   *     empty where results are checked
   */
  record Result(
      double seconds,
      double stepSeconds,
      long steps,
      long tokens,
      long elements,
      long[] acquireNanos,
      CacheStats stats,
      long heapGrowth,
      long residentGrowth,
      Instant begin,
      Instant end,
      List<int[]> batches) {
    double stepsPerSecond() {
      return steps / seconds;
    }

    double tokensPerSecond() {
      return tokens / seconds;
    }

    /** A quantile of the times to a lease, in microseconds. */
    double acquireMicros(double quantile) {
      int last = acquireNanos.length - 1;
      return last < 0 ? 0 : acquireNanos[(int) Math.round(quantile * last)] / 1e3;
    }
  }

  private static final class Times implements CacheListener {
    private long[] nanos = new long[1024];
    private int count;

    @Override
    public synchronized void acquired(String name, int slot, boolean hit, long waitNanos) {
      if (count == nanos.length) {
        nanos = Arrays.copyOf(nanos, 2 * count);
      }
      nanos[count++] = waitNanos;
    }

    synchronized void clear() {
      count = 0;
    }

    synchronized long[] sorted() {
      long[] sorted = Arrays.copyOf(nanos, count);
      Arrays.sort(sorted);
      return sorted;
    }
  }

  /**
   * Runs until the steps are done; fails at the first result that is wrong.
   *
   * @param adapters what results are compared with
   * @param source of the cache, such as the adapters themselves
   */
  Result run(LoadAdapters adapters, AdapterSource source, Trace trace, Length length)
      throws InterruptedException, ExecutionException, IOException {
    Times times = new Times();
    AtomicInteger next = new AtomicInteger();
    List<Future<?>> clients = new ArrayList<>();
    try (MoeLora lora = MoeLora.open(config, backend);
        AdapterCache cache = new AdapterCache(lora, source, limits, times);
        ExecutorService threads = Executors.newVirtualThreadPerTaskExecutor()) {
      Result result;
      try (Engine engine = new Engine(lora, check ? adapters : null, 1)) {
        engine.warmUp(loadMostPopular(cache, trace));
        for (int i = 0; i < requests; i++) {
          clients.add(threads.submit(() -> client(cache, engine, adapters, trace, next)));
        }
        result = measure(engine, cache, times, length, clients);
        next.set(Integer.MIN_VALUE);
        while (!clients.stream().allMatch(Future::isDone)) {
          engine.advance();
        }
      }
      for (Future<?> client : clients) {
        client.get();
      }
      return result;
    }
  }

  /**
   * Time of the steps of another run.
   *
   * @param stepSeconds time within steps
   */
  record Replay(double seconds, double stepSeconds) {}

  /**
   * Runs the steps of another run once more, with all adapters in slots before and none loaded
   * beside.
   *
   * @param batches of the other run, its warm-up included
   * @return what they took after the warm-up
   */
  Replay replay(LoadAdapters adapters, List<int[]> batches, Length length) {
    try (MoeLora lora = MoeLora.open(config, backend);
        Engine engine = new Engine(lora, null, 1)) {
      int[] slots = new int[config.slots()];
      for (int slot = 0; slot < slots.length; slot++) {
        lora.load(slot, adapters.file(LoadAdapters.name(slot) + "@0"));
        slots[slot] = slot;
      }
      engine.warmUp(slots);
      engine.replay(batches.subList(0, length.warmupSteps()));
      double firstStepSeconds = engine.stepSeconds();
      long start = System.nanoTime();
      engine.replay(batches.subList(length.warmupSteps(), length.warmupSteps() + length.steps()));
      double seconds = (System.nanoTime() - start) / 1e9;
      return new Replay(seconds, engine.stepSeconds() - firstStepSeconds);
    }
  }

  /** Loads as many adapters as there are slots, or all; returns their slots. */
  private int[] loadMostPopular(AdapterCache cache, Trace trace) throws InterruptedException {
    int[] slots = new int[Math.min(config.slots(), trace.adapters())];
    for (int adapter = 0; adapter < slots.length; adapter++) {
      try (Lease lease = cache.acquire(LoadAdapters.name(adapter))) {
        slots[adapter] = lease.slot();
      }
    }
    return slots;
  }

  private Result measure(
      Engine engine, AdapterCache cache, Times times, Length length, List<Future<?>> clients)
      throws InterruptedException, ExecutionException, IOException {
    advance(engine, length.warmupSteps(), clients);
    long heap = liveHeap();
    long resident = residentBytes();
    times.clear();
    long firstTokens = engine.tokens();
    long firstElements = engine.elements();
    double firstStepSeconds = engine.stepSeconds();
    Instant begin = Instant.now();
    long start = System.nanoTime();
    advance(engine, length.warmupSteps() + length.steps(), clients);
    double seconds = (System.nanoTime() - start) / 1e9;
    Instant end = Instant.now();
    double stepSeconds = engine.stepSeconds() - firstStepSeconds;
    long[] acquireNanos = times.sorted();
    long endResident = residentBytes();
    return new Result(
        seconds,
        stepSeconds,
        length.steps(),
        engine.tokens() - firstTokens,
        engine.elements() - firstElements,
        acquireNanos,
        cache.stats(),
        liveHeap() - heap,
        resident < 0 ? -1 : endResident - resident,
        begin,
        end,
        List.copyOf(engine.adaptersOfSteps()));
  }

  private static void advance(Engine engine, long steps, List<Future<?>> clients)
      throws InterruptedException, ExecutionException {
    while (engine.steps() < steps) {
      engine.advance();
      for (Future<?> client : clients) {
        if (client.isDone()) {
          // clients end only when they fail
          client.get();
        }
      }
    }
  }

  private @Nullable Void client(
      AdapterCache cache, Engine engine, LoadAdapters adapters, Trace trace, AtomicInteger next)
      throws InterruptedException {
    for (int request = next.getAndIncrement(); request >= 0; request = next.getAndIncrement()) {
      int adapter = trace.adapter(request);
      String name = LoadAdapters.name(adapter);
      if (changeEvery > 0 && request % changeEvery == changeEvery - 1) {
        adapters.change(name);
      }
      try (Lease lease = cache.acquire(name)) {
        engine.join(adapter, lease.slot(), trace.tokens(request));
      }
    }
    return null;
  }

  private static long liveHeap() {
    Runtime runtime = Runtime.getRuntime();
    long least = Long.MAX_VALUE;
    for (int i = 0; i < 3; i++) {
      System.gc();
      least = Math.min(least, runtime.totalMemory() - runtime.freeMemory());
    }
    return least;
  }

  private static long residentBytes() throws IOException {
    Path status = Path.of("/proc/self/status");
    if (!Files.isReadable(status)) {
      return -1;
    }
    for (String line : Files.readAllLines(status)) {
      if (line.startsWith("VmRSS:")) {
        return 1024 * Long.parseLong(line.replaceAll("[^0-9]", ""));
      }
    }
    return -1;
  }
}
