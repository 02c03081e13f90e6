package io.github.moelora.tornado.launch;

import uk.ac.manchester.tornado.api.GridScheduler;
import uk.ac.manchester.tornado.api.TaskGraph;
import uk.ac.manchester.tornado.api.WorkerGrid;
import uk.ac.manchester.tornado.api.WorkerGrid1D;

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
}
