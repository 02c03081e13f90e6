package io.github.moelora.tornado.device;

import uk.ac.manchester.tornado.api.TornadoExecutionPlan;
import uk.ac.manchester.tornado.api.common.TornadoDevice;

/**
 * The device of an instance.
 *
 * @param device what runs
 * @param description for people
 */
public record ChosenDevice(TornadoDevice device, String description) {

  /** The first device. */
  public static ChosenDevice first() {
    return of(Devices.first());
  }

  /** A device with its usual description. */
  public static ChosenDevice of(TornadoDevice device) {
    return new ChosenDevice(device, DeviceTraits.describe(device));
  }

  /** Whether the narrow kernels can run. */
  public boolean hasTensorCores() {
    return DeviceTraits.hasTensorCores(device);
  }

  /** Multiprocessors, or cores of a CPU, at least 1. */
  public int computeUnits() {
    return Math.max(1, device.getPhysicalDevice().getDeviceMaxComputeUnits());
  }

  /** Lets a plan, of which nothing has run, run here. */
  public void use(TornadoExecutionPlan plan) {
    // for the device that plans have anyway, TornadoVM would reserve the arrays now
    if (!device.equals(Devices.first())) {
      plan.withDevice(device);
    }
  }
}
