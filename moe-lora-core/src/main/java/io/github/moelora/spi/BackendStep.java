package io.github.moelora.spi;

import io.github.moelora.Matrix;
import io.github.moelora.ProjectionCall;
import io.github.moelora.Routing;

/** A backend's state of one step. Used by one thread at a time. */
public interface BackendStep extends BlockRule, AutoCloseable {

  /** Block sizes of plans of the model's dense modules; those of experts unless told otherwise. */
  default BlockRule denseRule() {
    return this;
  }

  /** Takes note of a new plan; the object is the same every time and changes with every plan. */
  void planned(Routing routing);

  /**
   * Takes note of a new plan of the model's dense modules, in which every token is a pair; the
   * object is the same every time and changes with every plan. Never called where the model lists
   * none.
   */
  void plannedDense(Routing routing);

  /**
   * Computes one projection of the last plan, or a dense module of the last plan of those; {@code
   * y} holds the result on return.
   *
   * @param x in, {@code [T, H]} or {@code [P, H]}, rows contiguous
   * @param y in and out, {@code [P, >= columnOffset + S*O]}, rows contiguous
   */
  void run(ProjectionCall call, Matrix x, Matrix y);

  @Override
  void close();
}
