package io.github.moelora.tornado.kernels;

import io.github.moelora.ExpertMap;
import io.github.moelora.tornado.emulator.KernelLoader;
import io.github.moelora.tornado.launch.PlanLaunch;
import java.util.Arrays;
import java.util.List;
import java.util.Random;

/**
 * A small batch whose plan {@link PlanKernels} make on the emulated device.
 *
 * @param name what is special
 * @param batch ids in and out of range
 * @param shape of the plan
 */
record PlanCase(String name, PlanContract.Batch batch, PlanLaunch.Shape shape)
    implements EmulatedRun {
  private static final int EXPERTS = 7;
  private static final int SLOTS = 4;
  private static final int PER_TOKEN = 3;
  private static final boolean[] ACTIVE = {true, false, false, true};

  /** Cases for each way to a plan, with more groups than threads and parts that are not whole. */
  static List<PlanCase> all() {
    ExpertMap identity = ExpertMap.identity(EXPERTS);
    ExpertMap elsewhere = ExpertMap.of(2, -1, 0, -1, -1, 1, -1);
    return List.of(
        of("no pairs", 0, 1, 2, identity, 4, 8, true),
        of("no pairs in chunks", 0, 37, 2, identity, 4, 8, true),
        // more groups than numbers in an array's header, which an index below 0 would find there
        of("no pairs in chunks of many groups", 0, 37, 2, identity, 4, 8, true).groups(130),
        of("no pairs in chunks of many groups, sorted", 0, 37, 2, identity, 4, 8, false)
            .groups(130),
        of("no pairs, sorted", 0, 1, 2, identity, 4, 8, false),
        of("no pairs in chunks, sorted", 0, 37, 2, identity, 4, 8, false),
        of("too many pairs", 6, 5, 2, identity, 4, 8, true),
        of("one work-group", 22, 22, 2, identity, 7, 8, true),
        of("a pair short of a part", 21, 21, 3, identity, 6, 8, true),
        of("a pair beyond a part", 43, 43, 3, identity, 8, 8, true),
        of("a part of four per token", 16, 16, 3, identity, 6, 8, true).perToken(4),
        of("one work-group, blocks of one", 5, 5, 1, elsewhere, 6, 8, true),
        of("one work-group, sorted", 13, 13, 3, elsewhere, 6, 8, false),
        of("a power of two, sorted", 4, 4, 3, identity, 4, 16, false).perToken(4),
        of("one work-group, blocks of one, sorted", 5, 5, 1, identity, 6, 8, false),
        of("nothing to do", 5, 5, 2, ExpertMap.of(-1, -1, -1, -1, -1, -1, 0), 6, 8, false),
        of("all have work, sorted", 6, 6, 3, identity, 6, 8, false).allWithWork(),
        of("chunks", 37, 37, 3, elsewhere, 4, 16, true),
        of("chunks of parts", 60, 60, 3, identity, 7, 16, true).allWithWork(),
        of("more chunks than are added at once", 93, 93, 16, identity, 4, 8, true),
        of("chunks, blocks of one", 11, 11, 1, elsewhere, 4, 8, true),
        of("chunks, sorted", 37, 37, 3, elsewhere, 4, 4, false),
        of("a pair beyond a chunk, sorted", 11, 11, 3, identity, 4, 8, false),
        of("more chunks than are added at once, sorted", 93, 93, 16, identity, 4, 8, false));
  }

  private PlanCase perToken(int other) {
    return make(name, batch.adapterIds().length, other, shape, batch.config().expertMap());
  }

  private PlanCase groups(int other) {
    PlanLaunch.Shape wider =
        new PlanLaunch.Shape(
            shape.maxPairs(),
            shape.blockSize(),
            other,
            shape.shift(),
            shape.threads(),
            shape.counted());
    return new PlanCase(name, batch, wider);
  }

  private PlanCase allWithWork() {
    int[] experts = batch.expertIds();
    int[] adapters = batch.adapterIds();
    for (int p = 0; p < experts.length; p++) {
      experts[p] = Math.floorMod(experts[p], EXPERTS);
    }
    Arrays.fill(adapters, 3);
    return this;
  }

  private static PlanCase of(
      String name,
      int tokens,
      int maxPairTokens,
      int blockSize,
      ExpertMap map,
      int shift,
      int threads,
      boolean counted) {
    int maxPairs = maxPairTokens * PER_TOKEN;
    PlanLaunch.Shape shape = new PlanLaunch.Shape(maxPairs, blockSize, 0, shift, threads, counted);
    return make(name, tokens, PER_TOKEN, shape, map);
  }

  private static PlanCase make(
      String name, int tokens, int perToken, PlanLaunch.Shape like, ExpertMap map) {
    Random random = new Random(tokens + 31L * like.blockSize());
    int[] experts = random.ints((long) tokens * perToken, -1, EXPERTS).toArray();
    int[] adapters = random.ints(tokens, -1, SLOTS).toArray();
    for (int p = 4; p < experts.length; p += 9) {
      experts[p] = p % 2 == 0 ? EXPERTS : -2;
    }
    for (int t = 3; t < tokens; t += 7) {
      adapters[t] = t % 2 == 0 ? SLOTS : -2;
    }
    PlanContract.Batch batch =
        new PlanContract.Batch(
            PlanContract.configOf(Math.max(1, tokens), perToken, map),
            experts,
            adapters,
            ACTIVE,
            like.blockSize());
    PlanLaunch.Shape shape =
        new PlanLaunch.Shape(
            like.maxPairs() / PER_TOKEN * perToken,
            like.blockSize(),
            PlanLaunch.Shape.of(batch.config(), like.blockSize()).groups(),
            like.shift(),
            like.threads(),
            like.counted());
    return new PlanCase(name, batch, shape);
  }

  private PlannedOnDevice device() {
    return new PlannedOnDevice(batch.config(), shape);
  }

  @Override
  public void run(long seed) {
    check(device().with(batch).emulate(seed));
  }

  @Override
  public void runMutated(KernelLoader loader, long seed) {
    PlannedOnDevice device = device().with(batch);
    if (device.mutates(loader)) {
      check(device.emulate(loader, seed));
    }
  }

  /** A step that is larger than the graph has no pairs there. */
  private void check(PlanContract.Plan plan) {
    PlanContract.Batch expected = batch;
    if (batch.expertIds().length > shape.maxPairs()) {
      int[] none = {};
      expected = new PlanContract.Batch(batch.config(), none, none, ACTIVE, batch.blockSize());
    }
    PlanContract.check(expected, plan, name);
  }

  @Override
  public String toString() {
    return name;
  }
}
