package io.github.moelora.tornado;

import io.github.moelora.DType;
import io.github.moelora.LoraAdapter;
import io.github.moelora.LoraSlice;
import io.github.moelora.Matrix;
import io.github.moelora.reference.Reference;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;
import uk.ac.manchester.tornado.api.GridScheduler;
import uk.ac.manchester.tornado.api.KernelContext;
import uk.ac.manchester.tornado.api.TaskGraph;
import uk.ac.manchester.tornado.api.WorkerGrid;
import uk.ac.manchester.tornado.api.WorkerGrid1D;
import uk.ac.manchester.tornado.api.types.arrays.FloatArray;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;
import uk.ac.manchester.tornado.api.types.arrays.LongArray;

/** A batch as {@link MeasureKernels} want it, and what some rows of y must hold. */
final class MeasureBatch {
  private static final DType TYPE = DType.BF16;

  /** Elements of a long. */
  private static final int LONG = Long.BYTES / Short.BYTES;

  /** Random numbers that weights and x repeat; odd, so that no two rows are the same. */
  private static final int POOL = 1_000_003;

  /** Content of y before a run repeats after this many elements. */
  private static final int Y_PERIOD = 13;

  /**
   * The programs of a grid.
   *
   * @param count of them
   * @param sortedTokenIds in, int32 {@code [count, ROWS]}
   * @param expertIds in, int32 {@code [count]}, -1 without work
   * @param adapterIds in, int32 {@code [count]}, -1 without work
   */
  private record Programs(
      int count, IntArray sortedTokenIds, IntArray expertIds, IntArray adapterIds) {

    static Programs of(int count, int pairs) {
      Programs programs =
          new Programs(
              count,
              new IntArray(count * MeasureKernels.ROWS),
              new IntArray(count),
              new IntArray(count));
      programs.sortedTokenIds.init(pairs);
      programs.expertIds.init(-1);
      programs.adapterIds.init(-1);
      return programs;
    }
  }

  /** Which list of programs. */
  private record Key(MeasureVariant.Grid grid, int slots) {}

  /** Expected rows of y of a token. */
  private record Sample(int token, Reference.Result expected) {}

  private final BenchBatch batch;
  private final IntArray sizes = new IntArray(MeasureKernels.SIZES);
  private final Map<Key, Programs> programs = new HashMap<>();
  private final LongArray a;
  private final LongArray b;
  private final LongArray x;
  private final FloatArray z;
  private final LongArray y;
  private final List<Sample> samples = new ArrayList<>();

  /**
   * @param batch of a shape with two slices and widths that are multiples of 4, of rank 16 at most
   * @param checkedTokens tokens whose rows of y are compared with the reference
   */
  MeasureBatch(BenchBatch batch, int checkedTokens, long seed) {
    this.batch = batch;
    BenchShape shape = batch.shape();
    int weights = shape.adapters() * shape.experts() * MeasureKernels.SLICES * batch.rank();
    int inputLongs = shape.inputWidth() / LONG;
    int outputLongs = shape.sliceWidth() / LONG;
    a = new LongArray(Math.multiplyExact(weights, inputLongs));
    b = new LongArray(Math.multiplyExact(weights, outputLongs));
    x = new LongArray(batch.tokens() * inputLongs);
    z = new FloatArray(batch.pairs() * MeasureKernels.SLICES * MeasureKernels.RANKS);
    y = new LongArray(batch.pairs() * MeasureKernels.SLICES * outputLongs);
    sizes.set(MeasureKernels.INPUT_LONGS, inputLongs);
    sizes.set(MeasureKernels.OUTPUT_LONGS, outputLongs);
    sizes.set(MeasureKernels.RANK, batch.rank());
    sizes.set(MeasureKernels.ADAPTERS, shape.adapters());
    sizes.set(MeasureKernels.EXPERTS, shape.experts());
    sizes.set(MeasureKernels.PAIRS, batch.pairs());
    sizes.set(MeasureKernels.EXPERTS_PER_TOKEN, shape.expertsPerToken());
    sizes.set(MeasureKernels.CHUNKS, chunks());
    fillWeights(seed);
    fillResults();
    for (MeasureVariant variant : MeasureVariant.ALL) {
      programs.computeIfAbsent(new Key(variant.grid(), variant.slots()), this::list);
    }
    sample(checkedTokens);
  }

  private int chunks() {
    return ceilDiv(batch.shape().sliceWidth() / LONG, MeasureKernels.EXPAND_THREADS);
  }

  private static int ceilDiv(int a, int b) {
    return (a + b - 1) / b;
  }

  private void fillWeights(long seed) {
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment pool = arena.allocate((long) POOL * TYPE.bytes());
      SplittableRandom random = new SplittableRandom(seed);
      for (int i = 0; i < POOL; i++) {
        TYPE.set(pool, i, (float) random.nextGaussian());
      }
      for (LongArray array : List.of(a, b, x)) {
        repeat(pool, array.getSegment());
      }
    }
  }

  /** Spoils z, and brings y into the state before a run. */
  void fillResults() {
    z.init(Float.NaN);
    MemorySegment pattern = MemorySegment.ofArray(new short[Y_PERIOD]);
    for (int i = 0; i < Y_PERIOD; i++) {
      TYPE.set(pattern, i, before(i));
    }
    repeat(pattern, y.getSegment());
  }

  private static void repeat(MemorySegment pattern, MemorySegment to) {
    long filled = Math.min(pattern.byteSize(), to.byteSize());
    MemorySegment.copy(pattern, 0, to, 0, filled);
    while (filled < to.byteSize()) {
      long count = Math.min(filled, to.byteSize() - filled);
      MemorySegment.copy(to, 0, to, filled, count);
      filled += count;
    }
  }

  /** Element of y before a run; exact in bfloat16. */
  private static float before(long index) {
    return index % Y_PERIOD * 0.25f;
  }

  private Programs list(Key key) {
    int experts = batch.shape().experts();
    int rows = MeasureKernels.ROWS;
    int blocks =
        batch.groups().values().stream().mapToInt(group -> ceilDiv(group.size(), rows)).sum();
    // as many as any routing can need: a captured graph has one grid for all
    int perSlot = Math.min(batch.pairs(), ceilDiv(batch.pairs() + experts * (rows - 1), rows));
    int perExpert = ceilDiv(batch.tokens(), rows);
    Programs list =
        Programs.of(
            switch (key.grid()) {
              case FLAT -> blocks;
              case BLOCKS_OF_SLOT -> key.slots() * perSlot;
              case BLOCKS_OF_EXPERT -> key.slots() * experts * perExpert;
            },
            batch.pairs());
    int[] next = new int[batch.shape().adapters()];
    int flat = 0;
    for (var group : batch.groups().entrySet()) {
      int slot = group.getKey() / experts;
      List<Integer> pairs = group.getValue();
      for (int first = 0; first < pairs.size(); first += rows) {
        int at =
            switch (key.grid()) {
              case FLAT -> flat++;
              case BLOCKS_OF_SLOT -> slot * perSlot + next[slot]++;
              case BLOCKS_OF_EXPERT -> group.getKey() * perExpert + first / rows;
            };
        list.adapterIds.set(at, slot);
        list.expertIds.set(at, group.getKey() % experts);
        for (int i = first; i < Math.min(pairs.size(), first + rows); i++) {
          list.sortedTokenIds.set(at * rows + i - first, pairs.get(i));
        }
      }
    }
    return list;
  }

  /** Programs of a variant's grid, each of which shrink and expand have several times. */
  int programs(MeasureVariant variant) {
    return list(variant).count();
  }

  private Programs list(MeasureVariant variant) {
    Programs list = programs.get(new Key(variant.grid(), variant.slots()));
    if (list == null) {
      throw new IllegalArgumentException("variant must be one of all, got " + variant);
    }
    return list;
  }

  LongArray y() {
    return y;
  }

  /** All arrays, for a transfer. */
  Object[] arrays() {
    List<Object> arrays = new ArrayList<>(List.of(sizes, a, b, x, z, y));
    for (Programs list : programs.values()) {
      arrays.addAll(List.of(list.sortedTokenIds, list.expertIds, list.adapterIds));
    }
    return arrays.toArray();
  }

  /** Appends a variant's shrink and expand and enters their grids. */
  void append(
      TaskGraph graph,
      String graphName,
      GridScheduler scheduler,
      String name,
      MeasureVariant variant) {
    KernelContext context = new KernelContext();
    Programs list = list(variant);
    IntArray sorted = list.sortedTokenIds();
    IntArray experts = list.expertIds();
    IntArray adapters = list.adapterIds();
    int check = variant.check();
    int branch = variant.branch();
    int wrap = variant.wrap();
    String shrink = name + "Shrink";
    String expand = name + "Expand";
    if (variant.wide()) {
      graph.task(
          shrink, MeasureKernels::shrinkWide, context, sizes, sorted, experts, adapters, a, x, z);
      graph.task(
          expand, MeasureKernels::expandWide, context, sizes, sorted, experts, adapters, b, z, y);
    } else {
      graph.task(
          shrink,
          MeasureKernels::shrink,
          context,
          sizes,
          sorted,
          experts,
          adapters,
          a,
          x,
          z,
          check,
          branch,
          wrap);
      graph.task(
          expand,
          MeasureKernels::expand,
          context,
          sizes,
          sorted,
          experts,
          adapters,
          b,
          z,
          y,
          check,
          branch,
          wrap);
    }
    int programs = list.count() * MeasureKernels.SLICES;
    scheduler.addWorkerGrid(
        graphName + "." + shrink, grid(programs, MeasureKernels.SHRINK_THREADS));
    scheduler.addWorkerGrid(
        graphName + "." + expand, grid(programs * chunks(), MeasureKernels.EXPAND_THREADS));
  }

  private static WorkerGrid grid(int groups, int threads) {
    WorkerGrid grid = new WorkerGrid1D(Math.multiplyExact(groups, threads));
    grid.setLocalWork(threads, 1, 1);
    return grid;
  }

  /** Computes what tokens spread over the batch must give. */
  private void sample(int count) {
    List<LoraAdapter> adapters = adapters();
    BenchShape shape = batch.shape();
    int perToken = shape.expertsPerToken();
    int width = shape.outputWidth();
    for (int i = 0; i < count; i++) {
      int token = count == 1 ? 0 : (int) ((long) i * (batch.tokens() - 1) / (count - 1));
      int first = token * perToken;
      samples.add(
          new Sample(
              token,
              Reference.compute(
                  new Reference.Inputs(
                      shape.model(),
                      shape.call(),
                      new ArrayList<>(adapters),
                      Arrays.copyOfRange(batch.expertIds(), first, first + perToken),
                      Arrays.copyOfRange(batch.routingWeights(), first, first + perToken),
                      new int[] {batch.adapterIds()[token]},
                      Matrix.of(x.getSegment(), TYPE, batch.tokens(), shape.inputWidth())
                          .rows(token, 1),
                      Matrix.of(y.getSegment(), TYPE, batch.pairs(), width)
                          .rows(first, perToken)))));
    }
  }

  /** The adapters as views of the arrays. */
  private List<LoraAdapter> adapters() {
    BenchShape shape = batch.shape();
    int rank = batch.rank();
    int inputs = shape.inputWidth();
    int columns = shape.sliceWidth();
    List<LoraAdapter> adapters = new ArrayList<>();
    for (int slot = 0; slot < shape.adapters(); slot++) {
      LoraAdapter.Builder builder = LoraAdapter.builder("adapter" + slot);
      for (int expert = 0; expert < shape.experts(); expert++) {
        for (int s = 0; s < MeasureKernels.SLICES; s++) {
          long row = (((long) slot * shape.experts() + expert) * MeasureKernels.SLICES + s) * rank;
          builder.add(
              0,
              shape.projection(),
              expert,
              new LoraSlice(
                  s * columns,
                  new Matrix(a.getSegment(), TYPE, rank, inputs, row * inputs, inputs, 1),
                  new Matrix(b.getSegment(), TYPE, columns, rank, row * columns, 1, columns),
                  1f));
        }
      }
      adapters.add(builder.build());
    }
    return adapters;
  }

  /** Largest error of a checked element of y as a share of its bound; infinite for a NaN. */
  double worstError() {
    int width = batch.shape().outputWidth();
    double worst = 0;
    for (Sample sample : samples) {
      long first = (long) sample.token() * batch.shape().expertsPerToken();
      double[][] values = sample.expected().values();
      for (int p = 0; p < values.length; p++) {
        for (int c = 0; c < width; c++) {
          double got = TYPE.get(y.getSegment(), (first + p) * width + c);
          double error = Math.abs(got - values[p][c]) / sample.expected().bounds()[p][c];
          worst = Math.max(worst, Double.isNaN(error) ? Double.POSITIVE_INFINITY : error);
        }
      }
    }
    return worst;
  }
}
