package io.github.moelora.bench.gpu;

import io.github.moelora.tornado.tune.CapturedTimer;
import uk.ac.manchester.tornado.api.GridScheduler;
import uk.ac.manchester.tornado.api.KernelContext;
import uk.ac.manchester.tornado.api.TaskGraph;
import uk.ac.manchester.tornado.api.TornadoExecutionPlan;
import uk.ac.manchester.tornado.api.TornadoExecutionResult;
import uk.ac.manchester.tornado.api.WorkerGrid;
import uk.ac.manchester.tornado.api.WorkerGrid1D;
import uk.ac.manchester.tornado.api.annotations.Parallel;
import uk.ac.manchester.tornado.api.enums.DataTransferMode;
import uk.ac.manchester.tornado.api.enums.TornadoVMBackendType;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;
import uk.ac.manchester.tornado.api.types.arrays.LongArray;

/** Measures how fast a kernel copies 256 MiB, far more than a cache holds. */
final class BenchCopy {
  private static final int ELEMENTS = 1 << 25;
  private static final int THREADS = 256;
  private static final int REPEATS = 9;

  private BenchCopy() {}

  /** Copies four elements for each thread, loads before stores. */
  static void copy(KernelContext context, LongArray from, LongArray to) {
    int at = context.groupIdx * (4 * THREADS) + context.localIdx;
    long first = from.get(at);
    long second = from.get(at + THREADS);
    long third = from.get(at + 2 * THREADS);
    long fourth = from.get(at + 3 * THREADS);
    to.set(at, first);
    to.set(at + THREADS, second);
    to.set(at + 2 * THREADS, third);
    to.set(at + 3 * THREADS, fourth);
  }

  /** A graph needs a task to move its arrays. */
  static void touch(IntArray flag) {
    for (@Parallel int i = 0; i < flag.getSize(); i++) {
      flag.set(i, flag.get(i) + 1);
    }
  }

  /**
   * Rate of the copy.
   *
   * @param bytesPerSecond read and written
   * @param correct whether every element arrived
   */
  record Rate(double bytesPerSecond, boolean correct) {}

  /** Lets a plan capture its graphs, which all backends but OpenCL can. */
  static void capture(TornadoExecutionPlan plan) {
    if (plan.getDevice(0).getTornadoVMBackend() != TornadoVMBackendType.OPENCL) {
      plan.withCUDAGraph();
    }
  }

  static Rate measure() {
    LongArray from = new LongArray(ELEMENTS);
    LongArray to = new LongArray(ELEMENTS);
    for (int i = 0; i < ELEMENTS; i++) {
      from.set(i, i * 0x9E3779B97F4A7C15L);
    }
    to.init(-1);
    IntArray flag = new IntArray(16);
    flag.init(0);
    GridScheduler scheduler = new GridScheduler();
    TaskGraph load =
        new TaskGraph("copyLoad")
            .transferToDevice(DataTransferMode.EVERY_EXECUTION, from, to, flag)
            .task("touch", BenchCopy::touch, flag)
            .persistOnDevice(from, to, flag);
    TaskGraph one = graph("copyOne", 1, scheduler, from, to, flag);
    TaskGraph many = graph("copyMany", REPEATS, scheduler, from, to, flag);
    TornadoExecutionPlan plan =
        new TornadoExecutionPlan(load.snapshot(), one.snapshot(), many.snapshot());
    try {
      plan.withGridScheduler(scheduler);
      capture(plan);
      plan.withGraph(0).execute();
      TornadoExecutionResult result = plan.withGraph(1).execute();
      result.transferToHost(to);
      boolean correct = from.getSegment().mismatch(to.getSegment()) < 0;
      double nanos = new CapturedTimer(plan, WarmUp.NANOS).measure(1, 2, REPEATS).nanos();
      return new Rate(2.0 * Long.BYTES * ELEMENTS / (nanos * 1e-9), correct);
    } finally {
      // of the graph that brought the arrays; freeing one in a second graph is an error
      plan.withGraph(0).freeDeviceMemory();
    }
  }

  private static TaskGraph graph(
      String name,
      int repeats,
      GridScheduler scheduler,
      LongArray from,
      LongArray to,
      IntArray flag) {
    TaskGraph graph = new TaskGraph(name).consumeFromDevice("copyLoad", from, to, flag);
    for (int i = 0; i < repeats; i++) {
      graph.task("copy" + i, BenchCopy::copy, new KernelContext(), from, to);
      WorkerGrid grid = new WorkerGrid1D(ELEMENTS / 4);
      grid.setLocalWork(THREADS, 1, 1);
      scheduler.addWorkerGrid(name + ".copy" + i, grid);
    }
    return graph.persistOnDevice(from, to, flag).transferToHost(DataTransferMode.UNDER_DEMAND, to);
  }
}
