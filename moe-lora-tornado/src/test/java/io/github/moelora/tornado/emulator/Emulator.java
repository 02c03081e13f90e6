package io.github.moelora.tornado.emulator;

import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Random;
import java.util.function.Consumer;
import uk.ac.manchester.tornado.api.KernelContext;

/**
 * Runs kernels as the CUDA backend does, without a device: every thread of a work-group is a thread
 * of its own, work-groups run one after another in random order.
 *
 * <p>Of a work-group one thread runs at a time, up to its next barrier or shuffle, and which one
 * comes next is drawn from the seed; one warp, drawn at every barrier, lets all others go first. A
 * missing barrier thus shows as data that is not there yet, or already overwritten, the same way on
 * every run with that seed.
 */
public final class Emulator {
  private Emulator() {}

  /**
   * Runs a kernel on a one-dimensional grid.
   *
   * @param kernel called once for each thread
   * @throws EmulationError if the kernel does what the device leaves undefined
   */
  public static void launch(int groups, int threads, long seed, Consumer<KernelContext> kernel) {
    launch(groups, threads, seed, true, kernel);
  }

  /**
   * As {@link #launch(int, int, long, Consumer)}, maybe without the check that all threads wait at
   * the same barrier.
   */
  static void launch(
      int groups, int threads, long seed, boolean exact, Consumer<KernelContext> kernel) {
    Random random = new Random(seed);
    List<Integer> order = new ArrayList<>();
    for (int g = 0; g < groups; g++) {
      order.add(g);
    }
    Collections.shuffle(order, random);
    for (int g : order) {
      new WorkGroup(groups, threads, g, random, exact).run(kernel);
    }
  }
}
