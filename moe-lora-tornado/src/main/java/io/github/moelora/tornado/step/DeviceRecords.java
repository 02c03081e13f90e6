package io.github.moelora.tornado.step;

import java.util.concurrent.locks.Lock;

/**
 * Events for JDK Flight Recorder: {@code io.github.moelora.DeviceHold} and {@code
 * io.github.moelora.DeviceWait}. Both are off until a recording switches them on, and cost a
 * comparison then. On a runtime image without the module jdk.jfr there are none.
 */
final class DeviceRecords {
  private static final boolean PRESENT = ModuleLayer.boot().findModule("jdk.jfr").isPresent();

  private DeviceRecords() {}

  /** Runs what a load does while it has the device, and records it. */
  static void hold(Runnable hold) {
    if (PRESENT && DeviceHoldEvent.isOn()) {
      DeviceHoldEvent.record(hold);
    } else {
      hold.run();
    }
  }

  /** Waits until a run has the device, and records how long. */
  static void await(Lock turn) {
    if (PRESENT && DeviceWaitEvent.isOn()) {
      DeviceWaitEvent.record(turn);
    } else {
      turn.lock();
    }
  }
}
