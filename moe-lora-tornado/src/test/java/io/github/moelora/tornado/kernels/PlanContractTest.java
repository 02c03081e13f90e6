package io.github.moelora.tornado.kernels;

import io.github.moelora.spi.HostPlanner;
import io.github.moelora.spi.PlanArrays;
import io.github.moelora.spi.PlanFormat;
import io.github.moelora.testkit.FixedBlocks;
import io.github.moelora.tornado.TestDevice;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Nested;
import org.junit.jupiter.api.Tag;

/** The planner of the host and that of the device, held to the same arrays. */
class PlanContractTest {

  @Nested
  @Tag("no-device")
  class OnTheHost extends PlanContract {
    @Override
    Plan plan(Batch batch) {
      HostPlanner planner = new HostPlanner(batch.config(), new FixedBlocks(batch.blockSize()));
      planner.plan(
          batch.adapterIds().length,
          MemorySegment.ofArray(batch.expertIds()),
          MemorySegment.ofArray(new float[batch.expertIds().length]),
          MemorySegment.ofArray(batch.adapterIds()),
          batch.active());
      int[] counts = unwritten(PlanFormat.COUNTS);
      int rows = PlanFormat.sortedCapacity(batch.config(), batch.blockSize());
      int[] sorted = unwritten(rows);
      int[] experts = unwritten(batch.config().maxPairs());
      int[] adapters = unwritten(batch.config().maxPairs());
      planner
          .routing()
          .copyTo(
              new PlanArrays(
                  MemorySegment.ofArray(counts),
                  MemorySegment.ofArray(sorted),
                  MemorySegment.ofArray(experts),
                  MemorySegment.ofArray(adapters),
                  MemorySegment.ofArray(new float[batch.config().maxPairs()])));
      return new Plan(counts, sorted, experts, adapters, 0);
    }

    @Override
    boolean counts() {
      return false;
    }
  }

  /** One plan for each kind of batch, run with fresh batches as engines do. */
  abstract static class OnDevice extends PlanContract {
    private static final Map<String, PlannedOnDevice> PLANNED = new HashMap<>();

    @BeforeAll
    static void requireDevice() {
      TestDevice.require();
    }

    @AfterAll
    static void close() {
      PLANNED.values().forEach(PlannedOnDevice::close);
      PLANNED.clear();
    }

    @Override
    Plan plan(Batch batch) {
      String key =
          "%d %d %d"
              .formatted(
                  batch.blockSize(),
                  batch.config().expertMap().localExperts(),
                  batch.config().maxTokens());
      Plan plan = PLANNED.computeIfAbsent(key, each -> newPlanned(batch)).with(batch).run();
      // TornadoVM brings nothing to the device that a kernel only writes, so what it left is
      // unknown
      int blocks = plan.counts()[PlanFormat.ALL_BLOCKS];
      clear(plan.sortedTokenIds(), blocks * batch.blockSize());
      clear(plan.blockExperts(), blocks);
      clear(plan.blockAdapters(), blocks);
      return plan;
    }

    PlannedOnDevice newPlanned(Batch batch) {
      return new PlannedOnDevice(batch.config(), batch.blockSize(), 0, 0, true);
    }

    private static void clear(int[] array, int from) {
      Arrays.fill(array, from, array.length, UNWRITTEN);
    }

    @Override
    int maxTokens(int tokens) {
      return 37;
    }
  }

  @Nested
  class OneTask extends OnDevice {
    @Override
    List<Integer> blockSizes() {
      return List.of(1, 16);
    }
  }

  /** As production does where there are too many groups to count. */
  @Nested
  class Sorted extends OnDevice {
    @Override
    PlannedOnDevice newPlanned(Batch batch) {
      return new PlannedOnDevice(batch.config(), batch.blockSize(), 7, 64, false);
    }

    @Override
    List<Integer> blockSizes() {
      return List.of(16);
    }
  }

  /** The chunks and work-groups of production: 4,500 pairs in five of them. */
  @Nested
  class Chunks extends OnDevice {
    @Override
    List<Integer> blockSizes() {
      return List.of(16);
    }

    @Override
    List<Integer> tokens() {
      return List.of(1500, 341, 342, 1);
    }

    @Override
    int maxTokens(int tokens) {
      return 1500;
    }
  }

  private static int[] unwritten(int size) {
    int[] array = new int[size];
    Arrays.fill(array, PlanContract.UNWRITTEN);
    return array;
  }
}
