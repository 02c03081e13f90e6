package io.github.moelora.tornado.kernels;

import io.github.moelora.tornado.emulator.KernelLoader;

/** What runs kernels on the emulated device and checks their result. */
interface EmulatedRun {

  /**
   * Runs the kernels as they are.
   *
   * @throws AssertionError if the result is wrong
   */
  void run(long seed);

  /**
   * Runs them with the one that a loader has mutated, or not at all if it has none of them.
   *
   * @throws AssertionError if the result is wrong
   */
  void runMutated(KernelLoader loader, long seed);
}
