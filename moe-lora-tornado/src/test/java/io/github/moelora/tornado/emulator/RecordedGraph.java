package io.github.moelora.tornado.emulator;

import java.lang.reflect.Method;
import java.lang.reflect.Proxy;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.jspecify.annotations.Nullable;
import uk.ac.manchester.tornado.api.GridScheduler;
import uk.ac.manchester.tornado.api.TaskGraph;
import uk.ac.manchester.tornado.api.TornadoTaskGraphInterface;
import uk.ac.manchester.tornado.api.WorkerGrid;
import uk.ac.manchester.tornado.api.common.TaskPackage;

/**
 * A task graph that only remembers its tasks, so that kernels are emulated with the arguments and
 * grids of production.
 */
public final class RecordedGraph extends TaskGraph {
  private final String name;
  private final List<TaskPackage> tasks = new ArrayList<>();

  public RecordedGraph(String name) {
    super(name);
    this.name = name;
    taskGraphImpl =
        (TornadoTaskGraphInterface)
            Proxy.newProxyInstance(
                RecordedGraph.class.getClassLoader(),
                new Class<?>[] {TornadoTaskGraphInterface.class},
                (proxy, method, arguments) -> record(method, arguments));
  }

  private @Nullable Object record(Method method, Object[] arguments) {
    if (!method.getName().equals("addTask")) {
      throw new UnsupportedOperationException(method + " is not recorded");
    }
    tasks.add((TaskPackage) arguments[0]);
    return null;
  }

  /** The tasks in their order, with the one-dimensional grids that a scheduler has for them. */
  public List<Launch> launches(GridScheduler scheduler) {
    List<Launch> launches = new ArrayList<>();
    for (TaskPackage task : tasks) {
      WorkerGrid grid = scheduler.get(name + "." + task.getId());
      if (grid == null) {
        throw new IllegalStateException("scheduler must have a grid for task " + task.getId());
      }
      int threads = Math.toIntExact(grid.getLocalWork()[0]);
      int groups = Math.toIntExact(grid.getGlobalWork()[0] / threads);
      List<Object> all = Arrays.asList(task.getTaskParameters());
      List<Object> arguments = List.copyOf(all.subList(1, all.size()));
      launches.add(
          new Launch(
              task.getId(),
              Launch.kernelOf(all.getFirst(), arguments),
              arguments,
              groups,
              threads));
    }
    return launches;
  }
}
