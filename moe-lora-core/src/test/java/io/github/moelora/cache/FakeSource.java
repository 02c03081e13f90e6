package io.github.moelora.cache;

import io.github.moelora.DType;
import io.github.moelora.LoraAdapter;
import io.github.moelora.LoraSlice;
import io.github.moelora.Matrix;
import io.github.moelora.Projection;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicInteger;
import org.jspecify.annotations.Nullable;

/**
 * Adapters of any name, made on demand and called {@code name@version}. A test holds reads up,
 * fails them and changes versions.
 */
final class FakeSource implements AdapterSource {
  /** Bytes of an adapter: A of 1 x 2 and B of 2 x 1, float32. */
  static final long BYTES = 16;

  /** A read that a test holds up. */
  static final class Gate {
    final CountDownLatch reached = new CountDownLatch(1);
    final CountDownLatch open = new CountDownLatch(1);

    void pass() throws InterruptedException {
      reached.countDown();
      open.await();
    }
  }

  final AtomicInteger reads = new AtomicInteger();
  private final Map<String, Integer> versions = new ConcurrentHashMap<>();
  private final Map<String, Gate> gates = new ConcurrentHashMap<>();
  private final Map<String, IOException> failures = new ConcurrentHashMap<>();
  private final Map<String, IOException> versionFailures = new ConcurrentHashMap<>();

  /** Holds up the next read of a name. */
  Gate hold(String name) {
    Gate gate = new Gate();
    gates.put(name, gate);
    return gate;
  }

  void fail(String name, @Nullable IOException failure) {
    set(failures, name, failure);
  }

  void failVersion(String name, @Nullable IOException failure) {
    set(versionFailures, name, failure);
  }

  private static void set(
      Map<String, IOException> map, String name, @Nullable IOException failure) {
    if (failure == null) {
      map.remove(name);
    } else {
      map.put(name, failure);
    }
  }

  /** The file changes. */
  void change(String name) {
    versions.merge(name, 1, Integer::sum);
  }

  @Override
  public Object version(String name) throws IOException {
    IOException failure = versionFailures.get(name);
    if (failure != null) {
      throw failure;
    }
    return versions.getOrDefault(name, 0);
  }

  @Override
  public LoraAdapter read(String name, Arena arena) throws IOException, InterruptedException {
    reads.incrementAndGet();
    Gate gate = gates.remove(name);
    if (gate != null) {
      gate.pass();
    }
    IOException failure = failures.get(name);
    if (failure != null) {
      throw failure;
    }
    return adapter(name + "@" + versions.getOrDefault(name, 0), arena);
  }

  /** An adapter of {@link #BYTES}. */
  static LoraAdapter adapter(String name, Arena arena) {
    Matrix a = Matrix.of(arena.allocate(8, 4), DType.F32, 1, 2);
    Matrix b = Matrix.of(arena.allocate(8, 4), DType.F32, 2, 1);
    return LoraAdapter.builder(name).add(0, Projection.DOWN, 0, new LoraSlice(0, a, b, 1)).build();
  }
}
