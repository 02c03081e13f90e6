package io.github.moelora.tornado.emulator;

import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import org.jspecify.annotations.Nullable;
import uk.ac.manchester.tornado.api.types.HalfFloat;

/**
 * Operations that the 32 lanes of a warp execute together. Every lane's n-th operation must be the
 * same one; it happens when the last lane has come to it, so that no lane needs to wait for a
 * matrix operation, whose results nothing but further operations can see.
 */
final class Warp {

  /** What a lane can ask for. */
  enum Kind {
    LOAD_A,
    LOAD_B,
    MMA_FP16,
    MMA_BF16,
    SHUFFLE_DOWN,
    SUM,
    BROADCAST_FIRST
  }

  private static final class Operation {
    final Kind kind;
    final @Nullable Object tile;
    final int[] addresses = new int[Fragments.LANES];
    final HalfFloat[][] a = new HalfFloat[Fragments.LANES][];
    final HalfFloat[][] b = new HalfFloat[Fragments.LANES][];
    final float[][] c = new float[Fragments.LANES][];
    final float[][] d = new float[Fragments.LANES][];
    final List<Runnable> after = new ArrayList<>();
    int lanes;

    Operation(Kind kind, @Nullable Object tile) {
      this.kind = kind;
      this.tile = tile;
    }
  }

  private final int index;
  private final int[] counts = new int[Fragments.LANES];
  private final List<Operation> pending = new ArrayList<>();
  private int done;

  Warp(int index) {
    this.index = index;
  }

  /** Loads a fragment; it is filled once all lanes have asked. */
  HalfFloat[] load(Kind kind, int lane, int[] ints, int byteOffset) {
    Object tile = LocalTiles.original(ints);
    long bytes = Fragments.bytes(tile);
    boolean rowMajor = kind == Kind.LOAD_A;
    int address = byteOffset + (rowMajor ? Fragments.addressA(lane) : Fragments.addressB(lane));
    boolean used = rowMajor || lane < 16;
    if (used && (address % 16 != 0 || address < 0 || address + 16 > bytes)) {
      throw new EmulationError(
          "%s must read 16 aligned bytes within %d, got byte %d (lane %d, byteOffset %d)"
              .formatted(kind, bytes, address, lane, byteOffset));
    }
    Operation operation = enter(kind, lane, tile);
    HalfFloat[] fragment = new HalfFloat[rowMajor ? 8 : 4];
    operation.addresses[lane] = address;
    operation.a[lane] = fragment;
    leave(operation);
    return fragment;
  }

  /** Multiplies fragments; the result is filled once all lanes have asked. */
  float[] multiply(Kind kind, int lane, HalfFloat[] a, HalfFloat[] b, float[] c) {
    if (a.length != 8 || b.length != 4 || c.length != 4) {
      throw new EmulationError(
          "fragments must have 8, 4 and 4 elements, got %d, %d and %d"
              .formatted(a.length, b.length, c.length));
    }
    Operation operation = enter(kind, lane, null);
    float[] result = {Float.NaN, Float.NaN, Float.NaN, Float.NaN};
    operation.a[lane] = a;
    operation.b[lane] = b;
    operation.c[lane] = c;
    operation.d[lane] = result;
    leave(operation);
    return result;
  }

  /**
   * Offers a value to the other lanes.
   *
   * @param from lane whose value this lane wants
   * @return array whose only element becomes the result once all lanes have asked
   */
  float[] exchange(Kind kind, int lane, float value, int from) {
    Operation operation = enter(kind, lane, null);
    float[] result = {Float.NaN};
    operation.addresses[lane] = from;
    operation.c[lane] = new float[] {value};
    operation.d[lane] = result;
    leave(operation);
    return result;
  }

  /** Whether all that a lane has asked for is done. */
  boolean upToDate(int lane) {
    return counts[lane] == done;
  }

  /** Runs an action when all that a lane has asked for is done, maybe at once. */
  void whenDone(int lane, Runnable action) {
    if (upToDate(lane)) {
      action.run();
    } else {
      pending.get(counts[lane] - done - 1).after.add(action);
    }
  }

  /** Throws if some lanes have executed an operation that others have not. */
  void requireConverged() {
    if (!pending.isEmpty()) {
      Operation operation = pending.getFirst();
      throw new EmulationError(
          "operation %d of warp %d, %s, must be executed by 32 lanes, got %d"
              .formatted(done, index, operation.kind, operation.lanes));
    }
  }

  // the same array is meant, not equal contents
  @SuppressWarnings("ReferenceEquality")
  private Operation enter(Kind kind, int lane, @Nullable Object tile) {
    int at = counts[lane]++ - done;
    if (at == pending.size()) {
      pending.add(new Operation(kind, tile));
    }
    Operation operation = pending.get(at);
    if (operation.kind != kind || operation.tile != tile) {
      throw new EmulationError(
          "operation %d of warp %d must be the same in all lanes, got %s in lane %d and %s%s in others"
              .formatted(
                  done + at,
                  index,
                  kind,
                  lane,
                  operation.kind,
                  operation.kind == kind ? " of another tile" : ""));
    }
    return operation;
  }

  private void leave(Operation operation) {
    if (++operation.lanes == Fragments.LANES) {
      pending.removeFirst();
      done++;
      execute(operation);
      operation.after.forEach(Runnable::run);
    }
  }

  private static void execute(Operation operation) {
    switch (operation.kind) {
      case LOAD_A, LOAD_B ->
          Fragments.loadMatrices(
              Objects.requireNonNull(operation.tile),
              operation.addresses,
              operation.a,
              operation.kind == Kind.LOAD_B);
      case MMA_FP16, MMA_BF16 ->
          Fragments.multiply(
              operation.a, operation.b, operation.c, operation.d, operation.kind == Kind.MMA_BF16);
      case SHUFFLE_DOWN, BROADCAST_FIRST -> {
        for (int lane = 0; lane < Fragments.LANES; lane++) {
          operation.d[lane][0] = operation.c[operation.addresses[lane]][0];
        }
      }
      case SUM -> sum(operation);
    }
  }

  /** In the order of the butterfly that the code generator emits. */
  private static void sum(Operation operation) {
    float[] sums = new float[Fragments.LANES];
    for (int lane = 0; lane < Fragments.LANES; lane++) {
      sums[lane] = operation.c[lane][0];
    }
    for (int mask = Fragments.LANES / 2; mask > 0; mask /= 2) {
      float[] next = new float[Fragments.LANES];
      for (int lane = 0; lane < Fragments.LANES; lane++) {
        next[lane] = sums[lane] + sums[lane ^ mask];
      }
      sums = next;
    }
    for (int lane = 0; lane < Fragments.LANES; lane++) {
      operation.d[lane][0] = sums[lane];
    }
  }
}
