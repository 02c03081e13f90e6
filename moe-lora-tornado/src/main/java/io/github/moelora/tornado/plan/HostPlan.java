package io.github.moelora.tornado.plan;

import io.github.moelora.MoeLoraConfig;
import io.github.moelora.Routing;
import io.github.moelora.spi.PlanArrays;
import io.github.moelora.spi.PlanFormat;
import io.github.moelora.tornado.choice.BlockChoice;
import io.github.moelora.tornado.kernels.SmallKernels;
import io.github.moelora.tornado.layout.DevicePlan;
import uk.ac.manchester.tornado.api.TaskGraph;
import uk.ac.manchester.tornado.api.enums.DataTransferMode;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;

/**
 * The arrays through which plans of up to {@code maxTokens} tokens travel to an engine's graphs.
 * TornadoVM transfers whole arrays, so graphs for few tokens have small ones of their own.
 */
public final class HostPlan implements PlanSource {
  private final String name;
  private final int maxTokens;
  private final int maxPairs;
  private final int fewPairs;
  private final int groups;
  private final int rows;
  private final DevicePlan arrays;
  private final PlanArrays hostArrays;
  private final DevicePlan handles = DevicePlan.handles();
  private final IntArray pairs = new IntArray(1);

  /**
   * @param prefix of the name of the graph that owns the arrays
   */
  public HostPlan(String prefix, MoeLoraConfig config, int maxTokens, int maxBlockSize) {
    this.name = prefix + maxTokens;
    this.maxTokens = maxTokens;
    MoeLoraConfig limits = config.withMaxTokens(maxTokens);
    maxPairs = limits.maxPairs();
    fewPairs = BlockChoice.FEW_TOKENS * config.expertsPerToken();
    groups = config.slots() * config.expertMap().localExperts();
    rows = PlanFormat.sortedCapacity(limits, maxBlockSize);
    arrays = DevicePlan.of(rows, maxPairs, maxPairs);
    hostArrays = arrays.hostArrays();
    arrays.counts().init(0);
  }

  /** Name of the graph that owns the arrays on the device. */
  public String name() {
    return name;
  }

  @Override
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
  public DevicePlan handles() {
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
        .task("readPairs", SmallKernels::readPairs, arrays.counts(), pairs)
        .persistOnDevice(arrays.plan())
        // named, so that closing the plan frees its device memory and its pinned host memory
        .persistOnDevice(pairs);
  }

  /**
   * Leaves a plan without any work.
   *
   * @return whether there was another
   */
  public boolean clear() {
    boolean had = arrays.counts().get(PlanFormat.PAIRS) > 0;
    arrays.counts().init(0);
    return had;
  }

  /** Takes over a plan; one that is too large becomes a plan without any work. */
  public void write(Routing plan) {
    if (plan.tokens() <= maxTokens) {
      plan.copyTo(hostArrays);
    } else {
      arrays.counts().init(0);
    }
  }
}
