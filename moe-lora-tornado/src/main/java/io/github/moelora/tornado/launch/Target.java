package io.github.moelora.tornado.launch;

import uk.ac.manchester.tornado.api.GridScheduler;
import uk.ac.manchester.tornado.api.TaskGraph;
import uk.ac.manchester.tornado.api.WorkerGrid;
import uk.ac.manchester.tornado.api.WorkerGrid1D;
import uk.ac.manchester.tornado.api.WorkerGrid2D;

/**
 * Where tasks go.
 *
 * @param graph gets the tasks
 * @param graphName name of the graph, as the scheduler knows its tasks
 * @param scheduler gets their grids
 */
public record Target(TaskGraph graph, String graphName, GridScheduler scheduler) {

  /** Enters the one-dimensional grid of a task. */
  void addGrid(String task, int groups, int threads) {
    WorkerGrid grid = new WorkerGrid1D(groups * threads);
    grid.setLocalWork(threads, 1, 1);
    scheduler.addWorkerGrid(graphName + "." + task, grid);
  }

  /**
   * Enters the grid of a task with two parallel loops over tiles.
   *
   * @param inner tiles of the inner loop
   * @param outer tiles of the outer loop
   * @param side iterations of each loop in a tile, which is a work-group
   */
  void addTiles(String task, int inner, int outer, int side) {
    WorkerGrid grid = new WorkerGrid2D(inner * side, outer * side);
    grid.setLocalWork(side, side, 1);
    scheduler.addWorkerGrid(graphName + "." + task, grid);
  }
}
