package io.github.moelora.tornado;

import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.extension.AfterEachCallback;
import org.junit.jupiter.api.extension.ExtensionContext;
import uk.ac.manchester.tornado.api.TornadoExecutionPlan;

/**
 * Frees the plans of a test's engines, also after a failure: on PTX, memory that stays pinned would
 * make the tests that follow fail.
 */
final class EnginePlans implements AfterEachCallback {
  private final List<TornadoExecutionPlan> plans = new ArrayList<>();

  /** Takes a plan over. */
  void add(TornadoExecutionPlan plan) {
    plans.add(plan);
  }

  @Override
  public void afterEach(ExtensionContext context) {
    plans.forEach(plan -> plan.withAllGraphs().freeDeviceMemory());
  }
}
