package io.github.moelora.tornado.step;

import io.github.moelora.tornado.weights.ProjectionWeights;
import java.util.List;

/** Where the weights of slots go: to graphs of the backend, or to those of an engine. */
public interface SlotStore {

  /**
   * Takes note that a slot gets new weights.
   *
   * @param packed in the order of {@link TornadoBackend#weights()}, or empty to empty the slot
   */
  void change(int slot, List<ProjectionWeights.Packed> packed);

  /** Number of the last change, for plans that know which slots they were made for. */
  long version();

  /** Frees what it holds, and refuses what comes after. */
  void close();
}
