package io.github.moelora.serving;

import io.github.moelora.DType;
import io.github.moelora.LoraAdapter;
import io.github.moelora.LoraSlice;
import io.github.moelora.Matrix;
import io.github.moelora.MoeModel;
import io.github.moelora.Projection;
import io.github.moelora.cache.AdapterSource;
import java.lang.foreign.Arena;
import java.util.Map;
import java.util.Random;
import java.util.concurrent.ConcurrentHashMap;

/**
 * Random adapters by name, each in several versions, as a source whose files change: the adapter
 * {@code a7} of version 2 is called {@code a7@2} in its slot. Safe for use by several threads.
 */
final class LoadAdapters implements AdapterSource {
  /** All weights of a large model are views of this many random numbers. */
  private static final int POOL_ELEMENTS = 1 << 20;

  private final MoeModel model;
  private final int rank;
  private final DType type;
  private final Matrix pool;
  private final Map<String, Integer> versions = new ConcurrentHashMap<>();
  private final Map<String, LoraAdapter> files = new ConcurrentHashMap<>();

  LoadAdapters(Arena arena, MoeModel model, int rank, DType type, long seed) {
    this.model = model;
    this.rank = rank;
    this.type = type;
    Random random = new Random(seed);
    pool =
        Matrix.of(arena.allocate((long) POOL_ELEMENTS * type.bytes(), 64), type, 1, POOL_ELEMENTS);
    for (int i = 0; i < POOL_ELEMENTS; i++) {
      pool.set(0, i, (float) random.nextGaussian() / 8);
    }
  }

  static String name(int adapter) {
    return "a" + adapter;
  }

  /** The file of an adapter changes. */
  void change(String name) {
    versions.merge(name, 1, Integer::sum);
  }

  @Override
  public Object version(String name) {
    return versions.getOrDefault(name, 0);
  }

  /** The adapter of a name as its slot calls it, such as {@code a7@2}. */
  LoraAdapter file(String nameAndVersion) {
    return files.computeIfAbsent(nameAndVersion, name -> make(name, name.hashCode()));
  }

  @Override
  public LoraAdapter read(String name, Arena arena) {
    return file(name + "@" + version(name)).copyTo(arena);
  }

  LoraAdapter make(String nameAndVersion, long seed) {
    Random random = new Random(seed);
    LoraAdapter.Builder builder = LoraAdapter.builder(nameAndVersion);
    for (int layer : model.layers()) {
      for (int e = 0; e < model.experts(); e++) {
        for (Projection projection : Projection.values()) {
          Matrix a = view(random, rank, model.inputWidth(projection));
          Matrix b = view(random, model.outputWidth(projection), rank);
          builder.add(layer, projection, e, new LoraSlice(0, a, b, 1f / rank));
        }
      }
    }
    return builder.build();
  }

  private Matrix view(Random random, int rows, int columns) {
    int offset = random.nextInt(pool.columns() - rows * columns + 1);
    return new Matrix(pool.data(), type, rows, columns, offset, columns, 1);
  }
}
