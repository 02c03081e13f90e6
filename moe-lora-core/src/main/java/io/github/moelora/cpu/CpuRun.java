package io.github.moelora.cpu;

import io.github.moelora.LoraAdapter;
import io.github.moelora.Matrix;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.Projection;
import io.github.moelora.ProjectionCall;
import io.github.moelora.Routing;
import org.jspecify.annotations.Nullable;

/** The run under way, as the tasks of both phases read it; written between runs only. */
final class CpuRun {
  /** Sizes and limits. */
  final MoeLoraConfig config;

  /** Elements from one row of z to the next. */
  final int zStride;

  private final @Nullable PackedAdapter[] slots;
  private float[] z = {};
  private @Nullable Routing routing;
  private @Nullable ProjectionCall call;
  private @Nullable Matrix x;
  private @Nullable Matrix y;
  private int layerIndex;

  CpuRun(MoeLoraConfig config, @Nullable PackedAdapter[] slots) {
    this.config = config;
    this.slots = slots;
    zStride = zStride(config);
  }

  /** The ranks of all slices of an expert, in whole panels. */
  static int zStride(MoeLoraConfig config) {
    return LoraAdapter.MAX_SLICES * PackedAdapter.padded(config.maxRank());
  }

  /** Takes a plan, for which z must have room. */
  void planned(Routing plan) {
    routing = plan;
    int zLength = plan.numTokensPostPadded() * zStride;
    if (z.length < zLength) {
      z = new float[zLength];
    }
  }

  void begin(ProjectionCall newCall, Matrix newX, Matrix newY) {
    layerIndex = config.model().layerIndex(newCall.layer());
    call = newCall;
    x = newX;
    y = newY;
  }

  /** Lets go of the caller's memory. */
  void end() {
    x = null;
    y = null;
  }

  /** {@code [padded pairs with work, zStride]}: of each slice its ranks, in whole panels. */
  float[] z() {
    return z;
  }

  Routing plan() {
    return required(routing);
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

  Projection projection() {
    return call().projection();
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
    return adapter.slices(layerIndex, projection(), plan().blockExpert(block));
  }

  private static <T> T required(@Nullable T value) {
    if (value == null) {
      throw new IllegalStateException("no run is under way");
    }
    return value;
  }
}
