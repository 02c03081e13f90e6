package io.github.moelora.tornado.device;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Properties;
import uk.ac.manchester.tornado.api.common.TornadoDevice;
import uk.ac.manchester.tornado.api.enums.TornadoDeviceType;
import uk.ac.manchester.tornado.api.enums.TornadoVMBackendType;

/** What the backend wants to know of TornadoVM and its device. */
public final class DeviceTraits {
  private DeviceTraits() {}

  /** What a tuning file calls a device: the same one behaves otherwise under another driver API. */
  public static String name(TornadoDevice device) {
    return "%s, %s"
        .formatted(device.getPhysicalDevice().getDeviceName().trim(), device.getTornadoVMBackend());
  }

  /** One line for people: device, TornadoVM's version and backend, memory, which kernels run. */
  public static String describe(TornadoDevice device) {
    return "%s, TornadoVM %s %s, %.1f GiB, %s"
        .formatted(
            device.getPhysicalDevice().getDeviceName().trim(),
            version(),
            device.getTornadoVMBackend(),
            device.getMaxGlobalMemory() / (double) (1L << 30),
            kernels(device.getTornadoVMBackend()));
  }

  /**
   * Which kernels run on a backend, and why. PTX has {@code mma} too, but <a
   * href="https://github.com/beehive-lab/TornadoVM/blob/v5.2.0-jdk25/tornado-drivers/ptx/src/main/java/uk/ac/manchester/tornado/drivers/ptx/graal/compiler/plugins/PTXGraphBuilderPlugins.java#L862">not
   * for bfloat16</a>, and stores its sums <a
   * href="https://github.com/beehive-lab/TornadoVM/blob/v5.2.0-jdk25/tornado-drivers/ptx/src/main/java/uk/ac/manchester/tornado/drivers/ptx/graal/lir/PTXLIRStmt.java#L3288">to
   * global memory</a> alone, where the kernels here need them in local memory.
   */
  static String kernels(TornadoVMBackendType backend) {
    return switch (backend) {
      case CUDA -> "tensor cores";
      case PTX ->
          "portable kernels, no tensor cores (TornadoVM's PTX backend has no bfloat16 mma and keeps"
              + " sums of mma out of local memory)";
      default -> "portable kernels, no tensor cores (TornadoVM's CUDA backend has them)";
    };
  }

  /** Whether a device is a GPU, for which work-groups are chosen here and not by TornadoVM. */
  public static boolean isGpu(TornadoDevice device) {
    return device.getDeviceType() == TornadoDeviceType.GPU;
  }

  /**
   * Whether kernels may use {@code mma}: on the CUDA backend, which takes devices of compute
   * capability 8.0 and later for it.
   */
  public static boolean hasTensorCores(TornadoDevice device) {
    return device.getTornadoVMBackend() == TornadoVMBackendType.CUDA;
  }

  /** Whether the compiler behind a backend unrolls loops; of PTX text, it does not. */
  public static boolean unrollsLoops(TornadoDevice device) {
    return device.getTornadoVMBackend() != TornadoVMBackendType.PTX;
  }

  /**
   * Whether {@code withCUDAGraph} may capture a task graph with transfers and replay it in one
   * launch. {@code -Dmoelora.tornado.capture=false} does without, for comparison.
   *
   * <p>Not while TornadoVM pins host memory, as it does unless {@code
   * -Dtornado.cuda.host.pinning=false}: whenever any execution plan frees its device memory, <a
   * href="https://github.com/beehive-lab/TornadoVM/blob/v5.2.0-jdk25/tornado-drivers/cuda/src/main/java/uk/ac/manchester/tornado/drivers/cuda/CUDADeviceContext.java#L876">the
   * memory of all plans is unpinned</a>, and what other plans have captured fails.
   */
  public static boolean hasGraphCapture(TornadoDevice device) {
    TornadoVMBackendType backend = device.getTornadoVMBackend();
    boolean wanted = !"false".equalsIgnoreCase(System.getProperty("moelora.tornado.capture"));
    return wanted && !pinsHostMemory() && backend == TornadoVMBackendType.CUDA;
  }

  /** Whether TornadoVM's CUDA backend pins the host memory of arrays. */
  static boolean pinsHostMemory() {
    return !"false".equalsIgnoreCase(System.getProperty("tornado.cuda.host.pinning", "true"));
  }

  /**
   * Version of the SDK that the JVM runs with, from its release file; "of unknown version" without
   * one.
   */
  public static String version() {
    String libraries = System.getProperty("java.library.path", "");
    Path release = Path.of(libraries).resolveSibling("etc").resolve("tornado.release");
    try (var reader = Files.newBufferedReader(release)) {
      Properties properties = new Properties();
      properties.load(reader);
      return properties.getProperty("version", "of unknown version");
    } catch (IOException e) {
      return "of unknown version";
    }
  }
}
