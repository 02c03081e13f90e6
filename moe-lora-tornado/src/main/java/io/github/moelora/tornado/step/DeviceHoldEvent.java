package io.github.moelora.tornado.step;

import jdk.jfr.Category;
import jdk.jfr.Description;
import jdk.jfr.Enabled;
import jdk.jfr.Event;
import jdk.jfr.Label;
import jdk.jfr.Name;
import jdk.jfr.StackTrace;

/** A load had the device alone. */
@Name("io.github.moelora.DeviceHold")
@Label("Device Hold")
@Description("A load had the device alone, so that runs had to wait")
@Category("moe-lora")
@Enabled(false)
@StackTrace(false)
final class DeviceHoldEvent extends Event {
  private static final DeviceHoldEvent SAMPLE = new DeviceHoldEvent();

  static boolean isOn() {
    return SAMPLE.isEnabled();
  }

  static void record(Runnable hold) {
    DeviceHoldEvent event = new DeviceHoldEvent();
    event.begin();
    try {
      hold.run();
    } finally {
      event.commit();
    }
  }
}
