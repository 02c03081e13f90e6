package io.github.moelora.tornado.launch;

import uk.ac.manchester.tornado.api.common.TornadoFunctions.Task16;
import uk.ac.manchester.tornado.api.common.TornadoFunctions.Task18;
import uk.ac.manchester.tornado.api.common.TornadoFunctions.Task19;
import uk.ac.manchester.tornado.api.common.TornadoFunctions.Task20;
import uk.ac.manchester.tornado.api.common.TornadoFunctions.Task7;

/**
 * Kernels as tasks of no particular types, because they see arrays in other types than these have
 * on the host: all that a device has of an array is its memory.
 */
final class RawTask {
  private RawTask() {}

  @SuppressWarnings("rawtypes")
  static <A, B, C, D, E, F, G> Task7 of(Task7<A, B, C, D, E, F, G> kernel) {
    return kernel;
  }

  @SuppressWarnings("rawtypes")
  static <A, B, C, D, E, F, G, H, I, J, K, L, M, N, O, P> Task16 of(
      Task16<A, B, C, D, E, F, G, H, I, J, K, L, M, N, O, P> kernel) {
    return kernel;
  }

  @SuppressWarnings("rawtypes")
  static <A, B, C, D, E, F, G, H, I, J, K, L, M, N, O, P, Q, R> Task18 of(
      Task18<A, B, C, D, E, F, G, H, I, J, K, L, M, N, O, P, Q, R> kernel) {
    return kernel;
  }

  @SuppressWarnings("rawtypes")
  static <A, B, C, D, E, F, G, H, I, J, K, L, M, N, O, P, Q, R, S> Task19 of(
      Task19<A, B, C, D, E, F, G, H, I, J, K, L, M, N, O, P, Q, R, S> kernel) {
    return kernel;
  }

  @SuppressWarnings("rawtypes")
  static <A, B, C, D, E, F, G, H, I, J, K, L, M, N, O, P, Q, R, S, T> Task20 of(
      Task20<A, B, C, D, E, F, G, H, I, J, K, L, M, N, O, P, Q, R, S, T> kernel) {
    return kernel;
  }
}
