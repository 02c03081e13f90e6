package io.github.moelora.tornado.step;

import io.github.moelora.tornado.choice.Tuning;
import io.github.moelora.tornado.weights.ProjectionWeights;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * The graphs of all projections and dense modules, while no engine has the device: made when
 * weights first go there. Not thread-safe.
 */
final class OwnGraphs implements SlotStore {
  private final List<ProjectionWeights> weights;
  private final @Nullable Tuning tuning;
  private final List<ProjectionGraphs> graphs = new ArrayList<>();

  /**
   * @param weights of all projections and dense modules
   * @param tuning measured choices, null for the built-in ones
   */
  OwnGraphs(List<ProjectionWeights> weights, @Nullable Tuning tuning) {
    this.weights = weights;
    this.tuning = tuning;
  }

  /** Whether the graphs were made. */
  boolean isMade() {
    return !graphs.isEmpty();
  }

  /** Graphs of all projections, in the order of the weights, made at the first call. */
  List<ProjectionGraphs> all() {
    if (graphs.isEmpty()) {
      for (ProjectionWeights each : weights) {
        // what was measured was measured on experts
        Tuning measured = each.site().module() == null ? tuning : null;
        graphs.add(new ProjectionGraphs(each.config(), each, measured));
      }
    }
    return graphs;
  }

  @Override
  public void change(int slot, List<ProjectionWeights.Packed> packed) {
    for (int i = 0; i < weights.size(); i++) {
      if (packed.isEmpty()) {
        weights.get(i).stageEmpty(slot);
        all().get(i).store();
      } else {
        ProjectionWeights.Packed each = packed.get(i);
        each.stage(slot);
        do {
          all().get(i).store();
        } while (each.stageNext());
      }
    }
  }

  /** Slots change at once here, and runs refuse plans made before. */
  @Override
  public long version() {
    return 0;
  }

  @Override
  public void close() {
    graphs.forEach(ProjectionGraphs::close);
  }
}
