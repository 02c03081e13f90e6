package io.github.moelora.tornado.plan;

import io.github.moelora.MoeLoraConfig;
import io.github.moelora.Routing;
import io.github.moelora.tornado.choice.BlockChoice;
import io.github.moelora.tornado.kernels.EngineKernels;
import io.github.moelora.tornado.layout.DeviceRouting;
import java.lang.foreign.MemorySegment;
import uk.ac.manchester.tornado.api.TaskGraph;
import uk.ac.manchester.tornado.api.enums.DataTransferMode;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;
import uk.ac.manchester.tornado.api.types.arrays.TornadoNativeArray;

/**
 * The arrays through which plans of up to {@code maxTokens} tokens travel to an engine's graphs.
 * TornadoVM transfers whole arrays, so graphs for few tokens have small ones of their own.
 */
public final class EnginePlan {
  private final int maxTokens;
  private final int maxPairs;
  private final int fewPairs;
  private final int groups;
  private final int rows;
  private final DeviceRouting arrays;
  private final DeviceRouting handles = DeviceRouting.handles();
  private final IntArray pairs = new IntArray(1);
  private boolean engineTransfers;

  public EnginePlan(MoeLoraConfig config, int maxTokens, int maxBlockSize) {
    this.maxTokens = maxTokens;
    MoeLoraConfig limits = config.withMaxTokens(maxTokens);
    maxPairs = limits.maxPairs();
    fewPairs = BlockChoice.FEW_TOKENS * config.expertsPerToken();
    groups = config.slots() * config.expertMap().localExperts();
    rows = Routing.sortedCapacity(limits, maxBlockSize);
    arrays = DeviceRouting.of(rows, maxPairs, maxPairs);
    arrays.counts().init(0);
  }

  /** Name of the graph that owns the arrays on the device. */
  public String name() {
    return "lora_plan_" + maxTokens;
  }

  public int maxPairs() {
    return maxPairs;
  }

  /** Most rows of a batch, padding included. */
  public int rows() {
    return rows;
  }

  /**
   * Most blocks with work: of one row each where no two pairs share weights and for few tokens,
   * else of more.
   */
  public int maxActiveBlocks() {
    int blocks = Math.max(fewPairs, maxPairs / BlockChoice.SMALL_BLOCK + groups);
    return Math.min(maxPairs, blocks);
  }

  /** What the kernels of the engine's graphs read. */
  public DeviceRouting handles() {
    return handles;
  }

  /** The arrays that the host writes, in the order of the handles. */
  public Object[] transferred() {
    return arrays.plan();
  }

  /** Graph that owns the arrays on the device and transfers them when it is run. */
  public TaskGraph graph() {
    return new TaskGraph(name())
        .transferToDevice(DataTransferMode.EVERY_EXECUTION, arrays.plan())
        .task("readPairs", EngineKernels::readPairs, arrays.counts(), pairs)
        .persistOnDevice(arrays.plan());
  }

  /** Notes that a graph of the engine transfers the arrays. */
  public void leaveTransferToEngine() {
    engineTransfers = true;
  }

  public boolean engineTransfers() {
    return engineTransfers;
  }

  /**
   * Takes over a plan; one that is too large becomes a plan without any work.
   *
   * @param from the buffers that hold the plan
   */
  public void write(Routing plan, Routing.Buffers from) {
    if (plan.tokens() > maxTokens) {
      arrays.counts().init(0);
      return;
    }
    int blocks = plan.allBlocks();
    copy(from.sortedTokenIds(), arrays.sortedTokenIds(), blocks * plan.blockSize());
    copy(from.expertIds(), arrays.expertIds(), blocks);
    copy(from.adapterIds(), arrays.adapterIds(), blocks);
    copy(from.routingWeights(), arrays.routingWeights(), plan.pairs());
    copy(from.counts(), arrays.counts(), Routing.COUNTS);
  }

  private static void copy(MemorySegment from, TornadoNativeArray to, int count) {
    MemorySegment.copy(from, 0, to.getSegment(), 0, (long) count * Integer.BYTES);
  }
}
