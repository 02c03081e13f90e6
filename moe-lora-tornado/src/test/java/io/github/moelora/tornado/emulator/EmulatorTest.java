package io.github.moelora.tornado.emulator;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.lang.reflect.Method;
import java.lang.reflect.Modifier;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.function.Consumer;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import uk.ac.manchester.tornado.api.KernelContext;
import uk.ac.manchester.tornado.api.enums.MMAShape;
import uk.ac.manchester.tornado.api.types.HalfFloat;
import uk.ac.manchester.tornado.api.types.arrays.HalfFloatArray;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;

/** What the emulated device grants a kernel, and what it refuses. */
@Tag("emulated")
class EmulatorTest {
  private static final int THREADS = 64;

  private static void launch(Consumer<KernelContext> kernel) {
    Emulator.launch(1, THREADS, 1, kernel);
  }

  @Test
  void threadsKnowTheirPlace() {
    List<String> seen = new ArrayList<>();
    Emulator.launch(
        3,
        2,
        1,
        ctx ->
            seen.add(
                "%d %d %d of %d %d"
                    .formatted(
                        ctx.groupIdx,
                        ctx.localIdx,
                        ctx.globalIdx,
                        ctx.localGroupSizeX,
                        ctx.globalGroupSizeX)));
    assertThat(seen)
        .containsExactlyInAnyOrder(
            "0 0 0 of 2 6",
            "0 1 1 of 2 6",
            "1 0 2 of 2 6",
            "1 1 3 of 2 6",
            "2 0 4 of 2 6",
            "2 1 5 of 2 6");
  }

  @Test
  void orderDependsOnTheSeedAlone() {
    assertThat(order(1)).isEqualTo(order(1)).isNotEqualTo(order(2));
  }

  private static List<Integer> order(long seed) {
    List<Integer> order = new ArrayList<>();
    Emulator.launch(
        2,
        THREADS,
        seed,
        ctx -> {
          order.add(ctx.globalIdx);
          ctx.localBarrier();
          order.add(ctx.globalIdx);
        });
    return order;
  }

  @Test
  void barrierPublishesLocalMemory() {
    int[] sums = new int[THREADS];
    launch(
        ctx -> {
          int[] local = ctx.allocateIntLocalArray(THREADS);
          local[ctx.localIdx] = ctx.localIdx;
          ctx.localBarrier();
          sums[ctx.localIdx] = Arrays.stream(local).sum();
        });
    assertThat(sums).containsOnly(THREADS * (THREADS - 1) / 2);
  }

  @Test
  void missingBarrierShows() {
    float[] seen = new float[THREADS];
    launch(
        ctx -> {
          float[] local = ctx.allocateFloatLocalArray(THREADS);
          local[ctx.localIdx] = 1;
          seen[ctx.localIdx] = local[THREADS - 1 - ctx.localIdx];
        });
    assertThat(seen).contains(Float.NaN);
  }

  @Test
  void barrierMustBeReachedByAll() {
    refuses(
        ctx -> {
          if (ctx.localIdx != 5) {
            ctx.localBarrier();
          }
        },
        "must be reached by all 64 threads, got 63; 1 have ended");
  }

  @Test
  void barrierMustBeTheSame() {
    refuses(
        ctx -> {
          if (ctx.localIdx < 32) {
            ctx.localBarrier();
          } else {
            ctx.globalBarrier();
          }
        },
        "all threads must wait at the same barrier");
  }

  @Test
  void warpMustNotDivergeAtMatrixOperations() {
    refuses(
        ctx -> {
          int[] tile = ctx.allocateIntLocalArray(128);
          if (ctx.localIdx != 40) {
            ctx.mmaLoadA(tile, 16);
          }
          ctx.localBarrier();
        },
        "operation 0 of warp 1, LOAD_A, must be executed by 32 lanes, got 31");
  }

  @Test
  void lanesMustExecuteTheSameOperation() {
    refuses(
        ctx -> {
          int[] tile = ctx.allocateIntLocalArray(128);
          HalfFloat[] a = ctx.mmaLoadA(tile, 16);
          HalfFloat[] b = ctx.mmaLoadB(tile, 16);
          float[] c = ctx.mmaFragment(0);
          if (ctx.localIdx % 2 == 0) {
            ctx.mma(a, b, c, MMAShape.M16N8K16);
          } else {
            ctx.mmaBF16(a, b, c, MMAShape.M16N8K16);
          }
        },
        "operation 2 of warp");
  }

  @Test
  void lanesMustReadTheSameTile() {
    refuses(
        ctx -> {
          int[] tile = ctx.allocateIntLocalArray(128);
          int[] other = ctx.allocateIntLocalArray(128);
          ctx.mmaLoadA(ctx.localIdx % 32 == 3 ? tile : other, 16);
        },
        "of another tile");
  }

  @Test
  void warpMustNotEndBeforeItsOperation() {
    refuses(
        ctx -> {
          int[] tile = ctx.allocateIntLocalArray(128);
          if (ctx.localIdx != 40) {
            ctx.mmaLoadA(tile, 16);
          }
        },
        "must be executed by 32 lanes, got 31");
  }

  @Test
  void matrixRowsMustBeAlignedAndWithinTheTile() {
    refuses(ctx -> ctx.mmaLoadA(ctx.allocateIntLocalArray(256), 16, 8), "must read 16 aligned");
    refuses(ctx -> ctx.mmaLoadA(ctx.allocateIntLocalArray(128), 16, 16), "within 512, got byte");
    refuses(ctx -> ctx.mmaLoadB(ctx.allocateIntLocalArray(60), 16), "within 240, got byte 240");
    refuses(
        ctx -> {
          ctx.allocateIntLocalArray(225);
          ctx.mmaLoadA(ctx.allocateIntLocalArray(128), 16);
        },
        "beside tiles must be a multiple of 16 bytes, got int[225]");
  }

  @Test
  void shuffleMustBeReachedByAllLanes() {
    refuses(
        ctx -> {
          if (ctx.localIdx != 0) {
            ctx.simdSum(1);
          }
        },
        "a shuffle must be reached by all lanes of its warp");
  }

  @Test
  void shufflesExchangeWithinAWarp() {
    float[] sums = new float[THREADS];
    float[] down = new float[THREADS];
    float[] first = new float[THREADS];
    launch(
        ctx -> {
          int tid = ctx.localIdx;
          sums[tid] = ctx.simdSum(tid);
          down[tid] = ctx.simdShuffleDown(tid, 5);
          first[tid] = ctx.simdBroadcastFirst(tid);
        });
    for (int tid = 0; tid < THREADS; tid++) {
      int from = tid / 32 * 32;
      assertThat(sums[tid]).isEqualTo(32 * from + 31 * 16);
      assertThat(down[tid]).isEqualTo(tid - from + 5 < 32 ? tid + 5 : tid);
      assertThat(first[tid]).isEqualTo(from);
    }
  }

  @Test
  void localMemoryStartsSpoilt() {
    launch(
        ctx -> {
          assertThat(ctx.allocateFloatLocalArray(1)[0]).isNaN();
          assertThat(ctx.allocateDoubleLocalArray(1)[0]).isNaN();
          int word = ctx.allocateIntLocalArray(1)[0];
          assertThat(Float.float16ToFloat((short) word)).isNaN();
          assertThat(Float.float16ToFloat((short) (word >> 16))).isNaN();
          assertThat(Float.intBitsToFloat(word << 16)).isNaN();
          assertThat(Float.intBitsToFloat(word)).isNaN();
          assertThat(ctx.allocateLongLocalArray(1)[0]).isEqualTo((long) word << 32 | word);
          assertThat(ctx.allocateHalfFloatLocalArray(1)[0].getFloat32()).isNaN();
          assertThat(ctx.allocateHalf2LocalArray(1)[0].getX().getFloat32()).isNaN();
          assertThat(ctx.allocateByteLocalArray(1)[0]).isEqualTo((byte) 0x7f);
        });
  }

  @Test
  void allocationsMustBeTheSameInAllThreads() {
    refuses(
        ctx -> ctx.allocateIntLocalArray(1 + ctx.localIdx), "allocation 0 must be the same in all");
    refuses(
        ctx -> {
          if (ctx.localIdx == 7) {
            ctx.allocateFloatLocalArray(4);
          } else {
            ctx.allocateIntLocalArray(4);
          }
        },
        "allocation 0 must be the same in all threads");
  }

  @Test
  void localMemoryIsLimited() {
    refuses(
        ctx -> {
          ctx.allocateIntLocalArray(6 * 1024);
          ctx.allocateIntLocalArray(6 * 1024);
          ctx.allocateByteLocalArray(1);
        },
        "must be at most 49152 bytes, got 49153");
  }

  @Test
  void copyLandsWhenItsGroupIsAwaited() {
    HalfFloatArray source = numbered(4);
    int[][] seen = new int[4][2];
    Emulator.launch(
        1,
        1,
        1,
        ctx -> {
          int[] tile = ctx.allocateIntLocalArray(2);
          tile[0] = 1;
          ctx.asyncCopyToLocal(tile, 0, source, 0);
          ctx.asyncCopyWaitGroup(0);
          seen[0] = tile.clone();
          ctx.asyncCopyCommit();
          ctx.asyncCopyToLocal(tile, 1, source, 2);
          ctx.asyncCopyCommit();
          seen[1] = tile.clone();
          ctx.asyncCopyWaitGroup(1);
          seen[2] = tile.clone();
          ctx.asyncCopyWaitGroup(0);
          seen[3] = tile.clone();
        });
    assertThat(seen[0]).containsExactly(LocalMemory.POISON, LocalMemory.POISON);
    assertThat(seen[1]).containsExactly(LocalMemory.POISON, LocalMemory.POISON);
    assertThat(seen[2]).containsExactly(0x0001_0000, LocalMemory.POISON);
    assertThat(seen[3]).containsExactly(0x0001_0000, 0x0003_0002);
  }

  @Test
  void twoCopiesMustNotBeUnderWayToOnePlace() {
    HalfFloatArray source = numbered(4);
    refuses(
        ctx -> {
          int[] tile = ctx.allocateIntLocalArray(1);
          if (ctx.localIdx == 3 || ctx.localIdx == 5) {
            ctx.asyncCopyToLocal(tile, 0, source, 0);
            ctx.asyncCopyCommit();
          }
        },
        "int 0 of a tile must be the destination of one copy at a time");
  }

  @Test
  void copyMustBeAlignedAndWithinTheSource() {
    HalfFloatArray source = numbered(4);
    for (int index : new int[] {-2, 1, 4}) {
      refuses(
          ctx -> ctx.asyncCopyToLocal(ctx.allocateIntLocalArray(1), 0, source, index),
          "srcIndex must be even and in [0, 3), got " + index);
    }
  }

  private static HalfFloatArray numbered(int size) {
    HalfFloatArray array = new HalfFloatArray(size);
    for (int i = 0; i < size; i++) {
      array.set(i, new HalfFloat((short) i));
    }
    return array;
  }

  @Test
  void failureOfAThreadIsThrown() {
    IntArray array = new IntArray(THREADS - 1);
    assertThatThrownBy(
            () ->
                launch(
                    ctx -> {
                      ctx.localBarrier();
                      array.set(ctx.localIdx, 1);
                      ctx.localBarrier();
                    }))
        .isInstanceOf(IndexOutOfBoundsException.class);
  }

  /** A method that fell back on its Java body would do something else than the device. */
  @Test
  void noOperationFallsBackOnItsJavaBody() {
    List<String> left =
        Arrays.stream(KernelContext.class.getDeclaredMethods())
            .filter(method -> Modifier.isPublic(method.getModifiers()))
            // exact as they are, because one thread runs at a time
            .filter(method -> !method.getName().equals("atomicAdd"))
            .filter(method -> !isOverridden(method))
            .map(Method::toString)
            .toList();
    assertThat(left).isEmpty();
  }

  private static boolean isOverridden(Method method) {
    return Arrays.stream(EmulatedContext.class.getDeclaredMethods())
        .anyMatch(
            own ->
                own.getName().equals(method.getName())
                    && Arrays.equals(own.getParameterTypes(), method.getParameterTypes()));
  }

  private static void refuses(Consumer<KernelContext> kernel, String message) {
    assertThatThrownBy(() -> launch(kernel))
        .isInstanceOf(EmulationError.class)
        .hasMessageContaining(message);
  }
}
