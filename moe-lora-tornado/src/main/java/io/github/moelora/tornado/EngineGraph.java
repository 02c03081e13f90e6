package io.github.moelora.tornado;

import uk.ac.manchester.tornado.api.TaskGraph;

/**
 * One of the engine's task graphs, still open for tasks.
 *
 * @param graph the graph, of which the engine has not taken a snapshot yet
 * @param index position that the graph will have in the engine's execution plan, at least 0
 * @param maxTokens most tokens of a step that runs the graph, in {@code [1,
 *     MoeLoraConfig.maxTokens]}; graphs for few tokens get kernels that suit few
 */
public record EngineGraph(TaskGraph graph, int index, int maxTokens) {

  /**
   * @throws IllegalArgumentException if a number is outside its range
   */
  public EngineGraph {
    if (index < 0) {
      throw new IllegalArgumentException("index must be at least 0, got " + index);
    }
    if (maxTokens < 1) {
      throw new IllegalArgumentException("maxTokens must be at least 1, got " + maxTokens);
    }
  }
}
