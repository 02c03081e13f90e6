package io.github.moelora.cpu;

import io.github.moelora.LoraAdapter;
import io.github.moelora.Matrix;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.ProjectionCall;
import io.github.moelora.Routing;
import java.lang.foreign.MemorySegment;
import org.jspecify.annotations.Nullable;

/** The run under way, as the tasks of both phases read it; written between runs only. */
final class CpuRun {
  /** Sizes and limits. */
  final MoeLoraConfig config;

  /** Elements from one row of z to the next. */
  final int zStride;

  /** Memory of x. */
  final RowMemory xMemory;

  /** Memory of y. */
  final RowMemory yMemory;

  private final @Nullable PackedAdapter[] slots;
  private float[] z = {};
  private @Nullable Routing expertPlan;
  private @Nullable Routing densePlan;
  private @Nullable Routing plan;
  private @Nullable ProjectionCall call;
  private @Nullable Matrix x;
  private @Nullable Matrix y;
  private int inputWidth;
  private int outputWidth;
  private int pairsPerRow;

  /** Site of the call's first local expert. */
  private int firstSite;

  CpuRun(MoeLoraConfig config, Kernels kernels, @Nullable PackedAdapter[] slots) {
    this.config = config;
    xMemory = new RowMemory(kernels.wantArrays());
    yMemory = new RowMemory(kernels.wantArrays());
    this.slots = slots;
    zStride = zStride(config);
  }

  /** The ranks of all slices of an expert, in whole panels. */
  static int zStride(MoeLoraConfig config) {
    return LoraAdapter.MAX_SLICES * PackedAdapter.padded(config.maxRank());
  }

  void planned(Routing newPlan) {
    expertPlan = newPlan;
    makeRoom(newPlan);
  }

  void plannedDense(Routing newPlan) {
    densePlan = newPlan;
    makeRoom(newPlan);
  }

  private void makeRoom(Routing newPlan) {
    int zLength = newPlan.numTokensPostPadded() * zStride;
    if (z.length < zLength) {
      z = new float[zLength];
    }
  }

  void begin(ProjectionCall newCall, Matrix newX, Matrix newY) {
    plan = newCall.isDense() ? densePlan : expertPlan;
    firstSite = PackedAdapter.firstSite(config, newCall);
    inputWidth = config.model().inputWidth(newCall);
    outputWidth = config.model().outputWidth(newCall);
    pairsPerRow = newCall.pairRows() || newCall.isDense() ? 1 : config.expertsPerToken();
    call = newCall;
    x = newX;
    y = newY;
    xMemory.take(newX);
    yMemory.take(newY);
  }

  /** Lets go of the caller's memory. */
  void end() {
    x = null;
    y = null;
    xMemory.release();
    yMemory.release();
  }

  /** {@code [padded pairs with work, zStride]}: of each slice its ranks, in whole panels. */
  float[] z() {
    return z;
  }

  Routing plan() {
    return required(plan);
  }

  ProjectionCall call() {
    return required(call);
  }

  Matrix x() {
    return required(x);
  }

  Matrix y() {
    return required(y);
  }

  /** Columns of x. */
  int inputWidth() {
    return inputWidth;
  }

  /** Columns of y that the call writes. */
  int outputWidth() {
    return outputWidth;
  }

  /** Row of x that belongs to a pair. */
  int xRow(int pair) {
    return pair / pairsPerRow;
  }

  /** The adapter of a block, or null if the block is without work. */
  @Nullable PackedAdapter adapter(int block) {
    int slot = plan().blockAdapter(block);
    if (slot < 0) {
      return null;
    }
    PackedAdapter adapter = slots[slot];
    if (adapter == null) {
      throw new IllegalStateException("slot %d is empty".formatted(slot));
    }
    return adapter;
  }

  /** What an adapter changes in the expert of a block. */
  PackedAdapter.Slice[] slices(PackedAdapter adapter, int block) {
    return adapter.slices(firstSite + plan().blockExpert(block));
  }

  /** The memory of those slices. */
  MemorySegment weights(PackedAdapter adapter, int block) {
    return adapter.weights(firstSite + plan().blockExpert(block));
  }

  private static <T> T required(@Nullable T value) {
    if (value == null) {
      throw new IllegalStateException("no run is under way");
    }
    return value;
  }
}
