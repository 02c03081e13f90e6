package io.github.moelora.tornado.kernels;

import io.github.moelora.tornado.layout.Sizes;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;

/** Stage of the narrow kernels: which (slot, local expert) a block of pairs needs. */
final class Site {
  private Site() {}

  /** Number of the (slot, local expert) in the slice table. */
  static int of(IntArray sizes, IntArray blockExperts, IntArray blockAdapters, int block) {
    return blockAdapters.get(block) * sizes.get(Sizes.LOCAL_EXPERTS) + blockExperts.get(block);
  }
}
