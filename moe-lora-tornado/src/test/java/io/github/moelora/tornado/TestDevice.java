package io.github.moelora.tornado;

import static org.assertj.core.api.Assertions.assertThat;

import io.github.moelora.spi.Availability;
import io.github.moelora.tornado.device.DeviceTraits;
import uk.ac.manchester.tornado.api.TornadoExecutionPlan;
import uk.ac.manchester.tornado.api.common.TornadoDevice;
import uk.ac.manchester.tornado.api.enums.TornadoDeviceType;

/** The device that tests run on; names it in the log, so that a log proves where they ran. */
public final class TestDevice {
  private TestDevice() {}

  /**
   * Fails unless the backend is usable, and on a GPU where {@code -Dmoelora.test.gpu=true} asks for
   * one.
   */
  public static void require() {
    Availability availability = new TornadoBackendProvider().probe();
    assertThat(availability).isInstanceOf(Availability.Usable.class);
    TornadoDevice device = TornadoExecutionPlan.getDevice(0, 0);
    System.out.println("TornadoVM device: " + availability + ", " + device.getDeviceType());
    if (Boolean.getBoolean("moelora.test.gpu")) {
      assertThat(device.getDeviceType()).isEqualTo(TornadoDeviceType.GPU);
    }
  }

  /** Whether kernels that need tensor cores can run. */
  public static boolean hasTensorCores() {
    return DeviceTraits.hasTensorCores(TornadoExecutionPlan.getDevice(0, 0));
  }

  /** Whether graphs can be captured and replayed. */
  static boolean hasGraphCapture() {
    return DeviceTraits.hasGraphCapture(TornadoExecutionPlan.getDevice(0, 0));
  }
}
