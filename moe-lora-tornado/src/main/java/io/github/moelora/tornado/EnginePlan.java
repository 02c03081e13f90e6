package io.github.moelora.tornado;

import io.github.moelora.MoeLoraConfig;
import io.github.moelora.Routing;
import io.github.moelora.spi.PlanArrays;
import io.github.moelora.spi.PlanFormat;
import uk.ac.manchester.tornado.api.TaskGraph;
import uk.ac.manchester.tornado.api.enums.DataTransferMode;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;

/**
 * The arrays through which plans of up to {@code maxTokens} tokens travel to an engine's graphs.
 * TornadoVM transfers whole arrays, so graphs for few tokens have small ones of their own.
 */
final class EnginePlan {
  private final int maxTokens;
  private final int maxPairs;
  private final int fewPairs;
  private final int groups;
  private final int rows;
  private final DeviceRouting arrays;
  private final PlanArrays hostArrays;
  private final DeviceRouting handles = DeviceRouting.handles();
  private final IntArray pairs = new IntArray(1);
  private boolean engineTransfers;

  EnginePlan(MoeLoraConfig config, int maxTokens, int maxBlockSize) {
    this.maxTokens = maxTokens;
    MoeLoraConfig limits = config.withMaxTokens(maxTokens);
    maxPairs = limits.maxPairs();
    fewPairs = EngineTasks.FEW_TOKENS * config.expertsPerToken();
    groups = config.slots() * config.expertMap().localExperts();
    rows = PlanFormat.sortedCapacity(limits, maxBlockSize);
    arrays = DeviceRouting.of(rows, maxPairs, maxPairs);
    hostArrays = arrays.hostArrays();
    arrays.counts().init(0);
  }

  /** Name of the graph that owns the arrays on the device. */
  String name() {
    return "lora_plan_" + maxTokens;
  }

  int maxPairs() {
    return maxPairs;
  }

  /** Most rows of a batch, padding included. */
  int rows() {
    return rows;
  }

  /**
   * Most blocks with work: of one row each where no two pairs share weights and for few tokens,
   * else of more.
   */
  int maxActiveBlocks() {
    int blocks = Math.max(fewPairs, maxPairs / TornadoBackend.SMALL_BLOCK + groups);
    return Math.min(maxPairs, blocks);
  }

  /** What the kernels of the engine's graphs read. */
  DeviceRouting handles() {
    return handles;
  }

  /** The arrays that the host writes, in the order of the handles. */
  Object[] transferred() {
    return arrays.plan();
  }

  /** Graph that owns the arrays on the device and transfers them when it is run. */
  TaskGraph graph() {
    return new TaskGraph(name())
        .transferToDevice(DataTransferMode.EVERY_EXECUTION, arrays.plan())
        .task("readPairs", EngineKernels::readPairs, arrays.counts(), pairs)
        .persistOnDevice(arrays.plan());
  }

  /** Notes that a graph of the engine transfers the arrays. */
  void leaveTransferToEngine() {
    engineTransfers = true;
  }

  boolean engineTransfers() {
    return engineTransfers;
  }

  /** Takes over a plan; one that is too large becomes a plan without any work. */
  void write(Routing plan, TornadoStep step) {
    if (plan.tokens() <= maxTokens) {
      step.copyPlan(hostArrays);
    } else {
      arrays.counts().init(0);
    }
  }
}
