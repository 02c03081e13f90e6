package io.github.moelora.tornado.tune;

import io.github.moelora.Routing;
import io.github.moelora.tornado.choice.OneShotTiling;
import org.jspecify.annotations.Nullable;

/** Times one projection of a layer on plans in blocks of any size. Not thread-safe. */
sealed interface TuningTimer extends AutoCloseable permits KernelTimer, RunTimer {

  /** Puts what is staged into its slot on the device. */
  void upload();

  /**
   * Median time.
   *
   * @param plan what to compute
   * @param kernel index of the kernel, where there is a choice
   * @param oneShot the one-shot kernel with its items; null as built in, and for other kernels
   */
  double nanos(Routing plan, int kernel, @Nullable OneShotTiling oneShot);

  @Override
  void close();
}
