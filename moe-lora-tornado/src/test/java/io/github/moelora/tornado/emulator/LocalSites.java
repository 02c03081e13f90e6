package io.github.moelora.tornado.emulator;

import java.util.concurrent.atomic.AtomicInteger;
import uk.ac.manchester.tornado.api.KernelContext;

/**
 * Places in kernels that allocate local memory. On the device such an array lasts as long as the
 * work-group, even if a loop comes by again. A stage that two others call has two arrays there and
 * one here, so it must not be needed in two places at once.
 */
public final class LocalSites {
  private static final AtomicInteger COUNT = new AtomicInteger();

  private LocalSites() {}

  /** A place of its own for each instruction of each version of a kernel. */
  static int next() {
    return COUNT.getAndIncrement();
  }

  /** Tells a thread which place its next allocation has. */
  public static void enter(KernelContext context, int site) {
    ((EmulatedContext) context).enterSite(site);
  }
}
