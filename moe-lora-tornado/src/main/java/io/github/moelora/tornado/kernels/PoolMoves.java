package io.github.moelora.tornado.kernels;

import uk.ac.manchester.tornado.api.annotations.Parallel;
import uk.ac.manchester.tornado.api.types.arrays.FloatArray;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;
import uk.ac.manchester.tornado.api.types.arrays.LongArray;

/**
 * Takes weights out of a pool to the staging array on the device, from where the kernel that stores
 * a slot brings them to another place of the pool. Where nothing moves, the staging array keeps
 * what the host sent.
 *
 * <p>Grid: one thread per element of the staging array.
 */
public final class PoolMoves {
  private PoolMoves() {}

  /**
   * Of packed weights.
   *
   * @param pool in, 16-bit, all slots
   * @param moves in, {@code [from, count]} of each pool
   * @param staging in and out, 16-bit
   * @param at index of this pool's two numbers
   */
  public static void lift(LongArray pool, IntArray moves, LongArray staging, int at) {
    for (@Parallel int i = 0; i < staging.getSize(); i++) {
      if (i < moves.get(at + 1)) {
        staging.set(i, pool.get(moves.get(at) + i));
      }
    }
  }

  /**
   * Of float32 weights.
   *
   * @param pool in, float32, all slots
   * @param moves in, {@code [from, count]}
   * @param staging in and out, float32
   */
  public static void liftFloats(FloatArray pool, IntArray moves, FloatArray staging) {
    for (@Parallel int i = 0; i < staging.getSize(); i++) {
      if (i < moves.get(1)) {
        staging.set(i, pool.get(moves.get(0) + i));
      }
    }
  }
}
