package io.github.moelora.cpu;

import io.github.moelora.MoeLoraConfig;
import io.github.moelora.spi.Availability;
import io.github.moelora.spi.Backend;
import io.github.moelora.spi.BackendProvider;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** Offers the CPU backend, which is always usable and has the lowest priority. */
public final class CpuBackendProvider implements BackendProvider {
  /** Set to the number of threads to use instead of all processors. */
  static final String THREADS_PROPERTY = "moelora.cpu.threads";

  /** Set to {@code off} to use plain Java even where the Vector API is present. */
  static final String VECTOR_PROPERTY = "moelora.cpu.vector";

  private static final Logger LOG = LoggerFactory.getLogger(CpuBackendProvider.class);

  /** Chosen once; a message at INFO says so once. */
  private static final class Holder {
    static final Kernels KERNELS = choose();

    private static Kernels choose() {
      if ("off".equals(System.getProperty(VECTOR_PROPERTY))) {
        LOG.info("CPU kernels in plain Java, as {}=off asks", VECTOR_PROPERTY);
        return new PlainKernels();
      }
      if (ModuleLayer.boot().findModule("jdk.incubator.vector").isEmpty()) {
        LOG.info(
            "CPU kernels in plain Java; start the JVM with --add-modules jdk.incubator.vector for"
                + " faster ones");
        return new PlainKernels();
      }
      Kernels kernels = new VectorKernels();
      LOG.info("CPU kernels on the {}", kernels.description());
      return kernels;
    }
  }

  /** Called by {@link java.util.ServiceLoader}. */
  public CpuBackendProvider() {}

  @Override
  public String name() {
    return "cpu";
  }

  @Override
  public Availability probe() {
    return new Availability.Usable(
        "CPU, %d threads, %s".formatted(threads(), Holder.KERNELS.description()), 0);
  }

  @Override
  public Backend open(MoeLoraConfig config) {
    return new CpuBackend(config, Holder.KERNELS, threads());
  }

  private static int threads() {
    int processors = Runtime.getRuntime().availableProcessors();
    int threads = Integer.getInteger(THREADS_PROPERTY, processors);
    if (threads < 1 || threads > 1024) {
      throw new IllegalArgumentException(
          "system property %s must be in [1, 1024], got %d".formatted(THREADS_PROPERTY, threads));
    }
    return threads;
  }
}
