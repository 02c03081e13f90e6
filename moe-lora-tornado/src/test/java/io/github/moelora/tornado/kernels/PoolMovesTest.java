package io.github.moelora.tornado.kernels;

import static org.assertj.core.api.Assertions.assertThat;

import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import uk.ac.manchester.tornado.api.types.arrays.FloatArray;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;
import uk.ac.manchester.tornado.api.types.arrays.LongArray;

/** {@link PoolMoves} called as Java; tests of pools run them on the device. */
@Tag("no-device")
class PoolMovesTest {

  @Test
  void liftsItsPoolsPart() {
    LongArray pool = LongArray.fromElements(10, 11, 12, 13, 14, 15, 16);
    LongArray staging = LongArray.fromElements(-1, -2, -3, -4, -5);
    PoolMoves.lift(pool, IntArray.fromElements(1, 2, 4, 3), staging, 2);
    assertThat(staging.toHeapArray()).containsExactly(14, 15, 16, -4, -5);
  }

  @Test
  void liftsNothingWhereNothingMoves() {
    LongArray staging = LongArray.fromElements(-1, -2);
    PoolMoves.lift(LongArray.fromElements(10, 11, 12), IntArray.fromElements(1, 0), staging, 0);
    assertThat(staging.toHeapArray()).containsExactly(-1, -2);
  }

  @Test
  void liftsFloats() {
    FloatArray staging = FloatArray.fromElements(-1, -2, -3);
    FloatArray pool = FloatArray.fromElements(10, 11, 12, 13);
    PoolMoves.liftFloats(pool, IntArray.fromElements(1, 2), staging);
    assertThat(staging.toHeapArray()).containsExactly(11, 12, -3);
  }
}
