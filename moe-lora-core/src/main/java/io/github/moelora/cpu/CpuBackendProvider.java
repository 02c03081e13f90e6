package io.github.moelora.cpu;

import io.github.moelora.MoeLoraConfig;
import io.github.moelora.spi.Availability;
import io.github.moelora.spi.Backend;
import io.github.moelora.spi.BackendProvider;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** Offers the CPU backend, which has the lowest priority and needs nothing installed. */
public final class CpuBackendProvider implements BackendProvider {
  /** Set to the number of threads to use instead of all processors. */
  static final String THREADS_PROPERTY = "moelora.cpu.threads";

  /** Set to {@code off} to use plain Java even where the Vector API is present. */
  static final String VECTOR_PROPERTY = "moelora.cpu.vector";

  private static final int MAX_THREADS = 1024;

  private static final Logger LOG = LoggerFactory.getLogger(CpuBackendProvider.class);

  /** Chosen once; a message at INFO says so once. */
  private static final class Holder {
    static final Kernels KERNELS =
        choose(
            "off".equals(System.getProperty(VECTOR_PROPERTY)),
            ModuleLayer.boot().findModule("jdk.incubator.vector").isPresent());
  }

  /** Called by {@link java.util.ServiceLoader}. */
  public CpuBackendProvider() {}

  static Kernels choose(boolean off, boolean vectorApi) {
    if (off) {
      LOG.info("CPU kernels in plain Java, as {}=off asks", VECTOR_PROPERTY);
      return new PlainKernels();
    }
    if (!vectorApi) {
      LOG.info(
          "CPU kernels in plain Java; start the JVM with --add-modules jdk.incubator.vector for"
              + " faster ones");
      return new PlainKernels();
    }
    Kernels kernels = new VectorKernels();
    LOG.info("CPU kernels on the {}", kernels.description());
    return kernels;
  }

  @Override
  public String name() {
    return "cpu";
  }

  @Override
  public Availability probe() {
    Availability.Unusable wrong = wrongProperty();
    return wrong != null
        ? wrong
        : new Availability.Usable(
            "CPU, %d threads, %s".formatted(threads(), Holder.KERNELS.description()), 0);
  }

  @Override
  public Backend open(MoeLoraConfig config) {
    Availability.Unusable wrong = wrongProperty();
    if (wrong != null) {
      throw new IllegalStateException(wrong.reason() + ". " + wrong.remedy());
    }
    String device = config.device();
    if (device != null && !device.equals("0") && !device.equalsIgnoreCase("cpu")) {
      throw new IllegalArgumentException(
          "device must be 0 or cpu for the backend cpu, got " + device);
    }
    return new CpuBackend(config, Holder.KERNELS, threads());
  }

  private static Availability.@Nullable Unusable wrongProperty() {
    String threads = System.getProperty(THREADS_PROPERTY);
    if (threads != null && !isThreadCount(threads)) {
      return new Availability.Unusable(
          "system property %s must be in [1, %d], got %s"
              .formatted(THREADS_PROPERTY, MAX_THREADS, threads),
          "set it to the number of threads, or leave it out to use all processors");
    }
    String vector = System.getProperty(VECTOR_PROPERTY);
    if (vector != null && !vector.equals("on") && !vector.equals("off")) {
      return new Availability.Unusable(
          "system property %s must be on or off, got %s".formatted(VECTOR_PROPERTY, vector),
          "leave it out to use the Vector API where it is present");
    }
    return null;
  }

  private static boolean isThreadCount(String text) {
    return text.matches("[0-9]{1,4}")
        && Integer.parseInt(text) >= 1
        && Integer.parseInt(text) <= MAX_THREADS;
  }

  private static int threads() {
    String threads = System.getProperty(THREADS_PROPERTY);
    return threads == null
        ? Math.min(Runtime.getRuntime().availableProcessors(), MAX_THREADS)
        : Integer.parseInt(threads);
  }
}
