package io.github.moelora;

import io.github.moelora.spi.BackendStep;
import jdk.jfr.Category;
import jdk.jfr.Description;
import jdk.jfr.Enabled;
import jdk.jfr.Event;
import jdk.jfr.Label;
import jdk.jfr.Name;
import jdk.jfr.StackTrace;

/** A projection of one layer was computed for a plan. */
@Name("io.github.moelora.StepRun")
@Label("Step Run")
@Description("A projection of one layer was computed for all pairs of a plan")
@Category("moe-lora")
@Enabled(false)
@StackTrace(false)
final class StepRunEvent extends Event {
  private static final StepRunEvent SAMPLE = new StepRunEvent();

  @Label("Dense Module")
  @Description("Position among the model's dense modules, -1 for routed experts")
  int module;

  @Label("Layer")
  int layer;

  @Label("Projection")
  String projection = "";

  @Label("Tokens")
  int tokens;

  @Label("Pairs")
  int pairs;

  @Label("Blocks with Work")
  int blocks;

  static boolean isOn() {
    return SAMPLE.isEnabled();
  }

  static void record(BackendStep step, Routing plan, ProjectionCall call, Matrix x, Matrix y) {
    StepRunEvent event = new StepRunEvent();
    event.layer = call.layer();
    event.projection = call.projection().name();
    event.module = call.module();
    event.tokens = plan.tokens();
    event.pairs = plan.pairs();
    event.blocks = plan.activeBlocks();
    event.begin();
    try {
      step.run(call, x, y);
    } finally {
      event.commit();
    }
  }
}
