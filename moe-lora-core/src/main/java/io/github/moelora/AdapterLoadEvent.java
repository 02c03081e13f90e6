package io.github.moelora;

import jdk.jfr.Category;
import jdk.jfr.DataAmount;
import jdk.jfr.Description;
import jdk.jfr.Enabled;
import jdk.jfr.Event;
import jdk.jfr.Label;
import jdk.jfr.Name;

/** An adapter was packed and put into a slot, or could not be. */
@Name("io.github.moelora.AdapterLoad")
@Label("Adapter Load")
@Description("An adapter was packed and put into a slot")
@Category("moe-lora")
@Enabled(false)
final class AdapterLoadEvent extends Event {
  private static final AdapterLoadEvent SAMPLE = new AdapterLoadEvent();

  @Label("Slot")
  int slot;

  @Label("Adapter")
  String adapter = "";

  @Label("Largest Rank")
  int rank;

  @Label("Weights")
  @Description("A and B in the types that the adapter has, before packing")
  @DataAmount
  long bytes;

  @Label("Succeeded")
  boolean succeeded;

  static boolean isOn() {
    return SAMPLE.isEnabled();
  }

  static void record(int slot, LoraAdapter adapter, Runnable load) {
    AdapterLoadEvent event = new AdapterLoadEvent();
    event.slot = slot;
    event.adapter = adapter.name();
    event.rank = adapter.maxRank();
    event.bytes = adapter.bytes();
    event.begin();
    try {
      load.run();
      event.succeeded = true;
    } finally {
      event.commit();
    }
  }
}
