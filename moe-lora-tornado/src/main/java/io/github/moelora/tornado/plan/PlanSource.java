package io.github.moelora.tornado.plan;

/** Where the tasks of a graph find which pairs need which weights. */
public sealed interface PlanSource permits HostPlan, PairPlan, SortedPlan {

  /** Most pairs of a step. */
  int maxPairs();
}
