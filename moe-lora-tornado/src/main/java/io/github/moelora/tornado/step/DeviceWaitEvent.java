package io.github.moelora.tornado.step;

import java.util.concurrent.locks.Lock;
import jdk.jfr.Category;
import jdk.jfr.Description;
import jdk.jfr.Enabled;
import jdk.jfr.Event;
import jdk.jfr.Label;
import jdk.jfr.Name;
import jdk.jfr.StackTrace;

/** A run asked for the device and got it. */
@Name("io.github.moelora.DeviceWait")
@Label("Device Wait")
@Description("A run waited for the device, which a load or another run had")
@Category("moe-lora")
@Enabled(false)
@StackTrace(false)
final class DeviceWaitEvent extends Event {
  private static final DeviceWaitEvent SAMPLE = new DeviceWaitEvent();

  static boolean isOn() {
    return SAMPLE.isEnabled();
  }

  static void record(Lock turn) {
    DeviceWaitEvent event = new DeviceWaitEvent();
    event.begin();
    turn.lock();
    event.commit();
  }
}
