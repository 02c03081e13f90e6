package io.github.moelora;

/**
 * Events for JDK Flight Recorder: {@code io.github.moelora.AdapterLoad}, {@code
 * io.github.moelora.AdapterEvict} and {@code io.github.moelora.StepRun}. All are off until a
 * recording switches them on, and cost a comparison then. On a runtime image without the module
 * jdk.jfr there are none: the event classes are touched only where it is present.
 */
final class FlightRecords {
  private static final boolean PRESENT = ModuleLayer.boot().findModule("jdk.jfr").isPresent();

  private FlightRecords() {}

  /** Runs a load that has been checked, and records it. */
  static void load(int slot, LoraAdapter adapter, Runnable load) {
    if (PRESENT && AdapterLoadEvent.isOn()) {
      AdapterLoadEvent.record(slot, adapter, load);
    } else {
      load.run();
    }
  }

  /** Records that an adapter has left its slot. */
  static void evict(int slot, String adapter) {
    if (PRESENT && AdapterEvictEvent.isOn()) {
      AdapterEvictEvent.record(slot, adapter);
    }
  }

  /** Runs a projection of a plan, and records it. Allocates nothing where the event is off. */
  static void run(Step step, Routing plan, ProjectionCall call, Matrix x, Matrix y) {
    if (PRESENT && StepRunEvent.isOn()) {
      StepRunEvent.record(step.backendStep(), plan, call, x, y);
    } else {
      step.backendStep().run(call, x, y);
    }
  }
}
