package io.github.moelora;

import jdk.jfr.Category;
import jdk.jfr.Description;
import jdk.jfr.Enabled;
import jdk.jfr.Event;
import jdk.jfr.Label;
import jdk.jfr.Name;
import jdk.jfr.StackTrace;

/** An adapter left its slot: another took its place, or it was unloaded. */
@Name("io.github.moelora.AdapterEvict")
@Label("Adapter Evict")
@Description("An adapter left its slot, for another one or none")
@Category("moe-lora")
@Enabled(false)
@StackTrace(false)
final class AdapterEvictEvent extends Event {
  private static final AdapterEvictEvent SAMPLE = new AdapterEvictEvent();

  @Label("Slot")
  int slot;

  @Label("Adapter")
  String adapter = "";

  static boolean isOn() {
    return SAMPLE.isEnabled();
  }

  static void record(int slot, String adapter) {
    AdapterEvictEvent event = new AdapterEvictEvent();
    event.slot = slot;
    event.adapter = adapter;
    event.commit();
  }
}
