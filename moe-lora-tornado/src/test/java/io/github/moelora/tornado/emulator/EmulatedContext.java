package io.github.moelora.tornado.emulator;

import java.lang.reflect.Field;
import java.util.Map;
import java.util.Objects;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import uk.ac.manchester.tornado.api.KernelContext;
import uk.ac.manchester.tornado.api.enums.MMAShape;
import uk.ac.manchester.tornado.api.types.HalfFloat;
import uk.ac.manchester.tornado.api.types.arrays.ByteArray;
import uk.ac.manchester.tornado.api.types.arrays.FP8Array;
import uk.ac.manchester.tornado.api.types.arrays.FloatArray;
import uk.ac.manchester.tornado.api.types.arrays.HalfFloatArray;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;
import uk.ac.manchester.tornado.api.types.arrays.TornadoNativeArray;
import uk.ac.manchester.tornado.api.types.matrix.Matrix8x8Float;
import uk.ac.manchester.tornado.api.types.vectors.Half2;

/**
 * What one thread of a work-group sees. Operations of {@link KernelContext} that are not emulated
 * throw, because their Java bodies do something else than a device.
 */
final class EmulatedContext extends KernelContext {
  /** The ids are final fields of the superclass. */
  private static final Map<String, Field> IDS =
      Stream.of(
              "globalIdx",
              "groupIdx",
              "localIdx",
              "globalGroupSizeX",
              "globalGroupSizeY",
              "globalGroupSizeZ",
              "localGroupSizeX",
              "localGroupSizeY",
              "localGroupSizeZ")
          .collect(Collectors.toMap(name -> name, EmulatedContext::field));

  /** Floats of the header of a device array. */
  static final int DEVICE_HEADER = (int) TornadoNativeArray.ARRAY_HEADER / Float.BYTES;

  private final WorkGroup group;
  private final Warp warp;
  private final int thread;
  private final int lane;
  private final AsyncCopies copies;
  private int allocations;
  private int site = -1;

  EmulatedContext(WorkGroup group, Warp warp, int groups, int size, int groupIndex, int thread) {
    this.group = group;
    this.warp = warp;
    this.thread = thread;
    copies = new AsyncCopies(group.memory());
    lane = thread % Fragments.LANES;
    set("globalIdx", groupIndex * size + thread);
    set("groupIdx", groupIndex);
    set("localIdx", thread);
    set("globalGroupSizeX", groups * size);
    set("globalGroupSizeY", 1);
    set("globalGroupSizeZ", 1);
    set("localGroupSizeX", size);
    set("localGroupSizeY", 1);
    set("localGroupSizeZ", 1);
  }

  private static Field field(String name) {
    try {
      Field field = KernelContext.class.getField(name);
      field.setAccessible(true);
      return field;
    } catch (NoSuchFieldException e) {
      throw new IllegalStateException(e);
    }
  }

  private void set(String name, int value) {
    try {
      Objects.requireNonNull(IDS.get(name)).set(this, value);
    } catch (IllegalAccessException e) {
      throw new IllegalStateException(e);
    }
  }

  @Override
  public void localBarrier() {
    group.awaitBarrier(thread);
  }

  @Override
  public void globalBarrier() {
    group.awaitBarrier(thread);
  }

  /** See {@link LocalSites#enter}. */
  void enterSite(int number) {
    site = number;
  }

  private int allocation() {
    int index = site < 0 ? allocations++ : group.memory().ofSite(site);
    site = -1;
    return index;
  }

  @Override
  public int[] allocateIntLocalArray(int size) {
    return group.memory().ints(allocation(), size);
  }

  @Override
  public byte[] allocateByteLocalArray(int size) {
    return group.memory().bytes(allocation(), size);
  }

  @Override
  public HalfFloat[] allocateHalfFloatLocalArray(int size) {
    return group.memory().halves(allocation(), size);
  }

  @Override
  public Half2[] allocateHalf2LocalArray(int size) {
    return group.memory().half2s(allocation(), size);
  }

  @Override
  public long[] allocateLongLocalArray(int size) {
    return group.memory().longs(allocation(), size);
  }

  @Override
  public float[] allocateFloatLocalArray(int size) {
    return group.memory().floats(allocation(), size);
  }

  @Override
  public double[] allocateDoubleLocalArray(int size) {
    return group.memory().doubles(allocation(), size);
  }

  @Override
  public float simdSum(float val) {
    return exchange(Warp.Kind.SUM, val, lane);
  }

  /** A lane past whose end the delta reaches gets its own value. */
  @Override
  public float simdShuffleDown(float val, int delta) {
    // the instruction takes the delta modulo 32
    int from = lane + (delta & (Fragments.LANES - 1));
    return exchange(Warp.Kind.SHUFFLE_DOWN, val, from < Fragments.LANES ? from : lane);
  }

  @Override
  public float simdBroadcastFirst(float val) {
    return exchange(Warp.Kind.BROADCAST_FIRST, val, 0);
  }

  private float exchange(Warp.Kind kind, float value, int from) {
    float[] result = warp.exchange(kind, lane, value, from);
    group.awaitWarp(thread);
    return result[0];
  }

  @Override
  public float[] mmaFragment(float v) {
    return new float[] {v, v, v, v};
  }

  @Override
  public HalfFloat[] mmaLoadA(int[] aTile, int wmmaK) {
    return mmaLoadA(aTile, wmmaK, 0);
  }

  @Override
  public HalfFloat[] mmaLoadB(int[] bTile, int wmmaK) {
    return mmaLoadB(bTile, wmmaK, 0);
  }

  @Override
  public HalfFloat[] mmaLoadA(int[] aTile, int wmmaK, int byteOffset) {
    requireK(wmmaK);
    group.memory().requireTileRows();
    return warp.load(Warp.Kind.LOAD_A, lane, aTile, byteOffset);
  }

  @Override
  public HalfFloat[] mmaLoadB(int[] bTile, int wmmaK, int byteOffset) {
    requireK(wmmaK);
    group.memory().requireTileRows();
    return warp.load(Warp.Kind.LOAD_B, lane, bTile, byteOffset);
  }

  private static void requireK(int wmmaK) {
    if (wmmaK != 16) {
      throw new EmulationError("wmmaK must be 16, got " + wmmaK);
    }
  }

  @Override
  public float[] mma(HalfFloat[] fragA, HalfFloat[] fragB, float[] fragC, MMAShape mmaShape) {
    requireShape(mmaShape);
    return warp.multiply(Warp.Kind.MMA_FP16, lane, fragA, fragB, fragC);
  }

  @Override
  public float[] mmaBF16(HalfFloat[] fragA, HalfFloat[] fragB, float[] fragC, MMAShape mmaShape) {
    requireShape(mmaShape);
    return warp.multiply(Warp.Kind.MMA_BF16, lane, fragA, fragB, fragC);
  }

  private static void requireShape(MMAShape shape) {
    if (shape != MMAShape.M16N8K16) {
      throw new EmulationError("mmaShape must be M16N8K16, got " + shape);
    }
  }

  @Override
  public void mmaStore(float[] fragD, FloatArray c, int tileRow, int tileCol, int dimN) {
    Object target = LocalTiles.original(c);
    warp.whenDone(
        lane,
        () -> {
          for (int i = 0; i < fragD.length; i++) {
            int row = tileRow + Fragments.rowOf(lane, i);
            int index = row * dimN + tileCol + Fragments.columnOf(lane, i);
            if (target instanceof float[] local) {
              local[LocalTiles.HEADER + index] = fragD[i];
            } else {
              c.set(index + LocalTiles.HEADER - DEVICE_HEADER, fragD[i]);
            }
          }
        });
  }

  @Override
  public void asyncCopyToLocal(int[] dstTile, int dstIndex, HalfFloatArray src, int srcIndex) {
    if (srcIndex % 2 != 0 || srcIndex < 0 || srcIndex + 2 > src.getSize()) {
      throw new EmulationError(
          "srcIndex must be even and in [0, %d), got %d".formatted(src.getSize() - 1, srcIndex));
    }
    int low = src.get(srcIndex).getHalfFloatValue() & 0xffff;
    int high = src.get(srcIndex + 1).getHalfFloatValue() & 0xffff;
    copies.issue(dstTile, dstIndex, low | high << 16);
  }

  @Override
  public void asyncCopyCommit() {
    copies.commit();
  }

  @Override
  public void asyncCopyWaitGroup(int groups) {
    copies.await(groups);
  }

  // what follows is not emulated

  private static UnsupportedOperationException notEmulated(String operation) {
    return new UnsupportedOperationException(operation + " is not emulated");
  }

  @Override
  public void matrixMultiply8x8(
      FloatArray a,
      int aBase,
      int lda,
      FloatArray b,
      int bBase,
      int ldb,
      FloatArray c,
      int cBase,
      int ldc,
      int k) {
    throw notEmulated("matrixMultiply8x8");
  }

  @Override
  public Matrix8x8Float simdgroupMatrixZero() {
    throw notEmulated("simdgroupMatrixZero");
  }

  @Override
  public Matrix8x8Float simdgroupMatrixLoad(FloatArray a, int base, int stride) {
    throw notEmulated("simdgroupMatrixLoad");
  }

  @Override
  public Matrix8x8Float simdgroupMatrixLoad(float[] a, int base, int stride) {
    throw notEmulated("simdgroupMatrixLoad");
  }

  @Override
  public Matrix8x8Float simdgroupMatrixMultiplyAccumulate(
      Matrix8x8Float a, Matrix8x8Float b, Matrix8x8Float c) {
    throw notEmulated("simdgroupMatrixMultiplyAccumulate");
  }

  @Override
  public void simdgroupMatrixStore(Matrix8x8Float m, FloatArray c, int base, int stride) {
    throw notEmulated("simdgroupMatrixStore");
  }

  @Override
  public HalfFloat swizzleLoadFp16Stride32(HalfFloat[] arr, int row, int col, int stride) {
    throw notEmulated("swizzleLoadFp16Stride32");
  }

  @Override
  public void swizzleStoreFp16Stride32(HalfFloat[] arr, int row, int col, int stride, HalfFloat v) {
    throw notEmulated("swizzleStoreFp16Stride32");
  }

  @Override
  public HalfFloat swizzleLoadFp16Stride16(HalfFloat[] arr, int row, int col, int stride) {
    throw notEmulated("swizzleLoadFp16Stride16");
  }

  @Override
  public void swizzleStoreFp16Stride16(HalfFloat[] arr, int row, int col, int stride, HalfFloat v) {
    throw notEmulated("swizzleStoreFp16Stride16");
  }

  @Override
  public byte swizzleLoadInt8(byte[] arr, int row, int col, int stride) {
    throw notEmulated("swizzleLoadInt8");
  }

  @Override
  public void swizzleStoreInt8(byte[] arr, int row, int col, int stride, byte v) {
    throw notEmulated("swizzleStoreInt8");
  }

  @Override
  public HalfFloat[] mmaLoadBSwizzled(HalfFloat[] bTile, int wmmaK) {
    throw notEmulated("mmaLoadBSwizzled");
  }

  @Override
  public HalfFloat[] mmaLoadBSwizzled(HalfFloat[] bTile, int wmmaK, int byteOffset) {
    throw notEmulated("mmaLoadBSwizzled");
  }

  @Override
  public void mmaStoreBSwizzled(
      HalfFloat[] arr, int row, int col, int stride, HalfFloat value, int byteOffset) {
    throw notEmulated("mmaStoreBSwizzled");
  }

  @Override
  public int[] mmaFragmentInt(int initValue) {
    throw notEmulated("mmaFragmentInt");
  }

  @Override
  public byte[] mmaLoadAInt8(int[] aTile, int tileK) {
    throw notEmulated("mmaLoadAInt8");
  }

  @Override
  public byte[] mmaLoadBInt8(int[] bTile, int tileK) {
    throw notEmulated("mmaLoadBInt8");
  }

  @Override
  public int[] mmaInt8(byte[] fragA, byte[] fragB, int[] fragC, MMAShape shape) {
    throw notEmulated("mmaInt8");
  }

  @Override
  public void mmaStoreInt(int[] fragD, IntArray out, int row, int col, int stride) {
    throw notEmulated("mmaStoreInt");
  }

  @Override
  public byte[] mmaLoadAFP8(int[] aTile, int tileK) {
    throw notEmulated("mmaLoadAFP8");
  }

  @Override
  public byte[] mmaLoadBFP8(int[] bTile, int tileK) {
    throw notEmulated("mmaLoadBFP8");
  }

  @Override
  public float[] mmaFP8E4M3(byte[] fragA, byte[] fragB, float[] fragC, MMAShape shape) {
    throw notEmulated("mmaFP8E4M3");
  }

  @Override
  public float[] mmaFP8E5M2(byte[] fragA, byte[] fragB, float[] fragC, MMAShape shape) {
    throw notEmulated("mmaFP8E5M2");
  }

  @Override
  public void asyncCopyToLocal(int[] dstTile, int dstIndex, FP8Array src, int srcIndex) {
    throw notEmulated("asyncCopyToLocal from FP8Array");
  }

  @Override
  public void asyncCopyToLocal(int[] dstTile, int dstIndex, ByteArray src, int srcIndex) {
    throw notEmulated("asyncCopyToLocal from ByteArray");
  }
}
