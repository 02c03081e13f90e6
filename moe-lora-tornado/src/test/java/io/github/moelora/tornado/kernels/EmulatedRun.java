package io.github.moelora.tornado.kernels;

import io.github.moelora.tornado.emulator.KernelLoader;

/** Tasks on the emulated device, with what must come of them. */
interface EmulatedRun {
  /**
   * Runs all tasks and checks their results.
   *
   * @throws AssertionError for the first element outside its bound, or if a kernel does what the
   *     device leaves undefined
   */
  void run(long seed);

  /**
   * After {@link #run}, the same with the kernels that a loader has mutated; nothing where there is
   * none of them.
   *
   * @throws AssertionError as {@link #run}
   */
  void runMutated(KernelLoader loader, long seed);
}
