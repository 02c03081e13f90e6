package io.github.moelora.tornado;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Properties;
import uk.ac.manchester.tornado.api.common.TornadoDevice;
import uk.ac.manchester.tornado.api.enums.TornadoVMBackendType;

/** What the backend wants to know of TornadoVM and its device. */
final class DeviceTraits {
  private DeviceTraits() {}

  /**
   * Whether kernels may use {@code mma}: on the CUDA backend, which takes devices of compute
   * capability 8.0 and later for it.
   */
  static boolean hasTensorCores(TornadoDevice device) {
    return device.getTornadoVMBackend() == TornadoVMBackendType.CUDA;
  }

  /**
   * Whether {@code withCUDAGraph} can capture a task graph and replay it in one launch. {@code
   * -Dmoelora.tornado.capture=false} does without, for comparison.
   */
  static boolean hasGraphCapture(TornadoDevice device) {
    TornadoVMBackendType backend = device.getTornadoVMBackend();
    boolean wanted = !"false".equalsIgnoreCase(System.getProperty("moelora.tornado.capture"));
    return wanted && (backend == TornadoVMBackendType.CUDA || backend == TornadoVMBackendType.PTX);
  }

  /**
   * Version of the SDK that the JVM runs with, from its release file; "of unknown version" without
   * one.
   */
  static String version() {
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
