package io.github.moelora.tornado.engine;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.github.moelora.AdapterPool;
import io.github.moelora.GateUp;
import io.github.moelora.LoraAdapter;
import io.github.moelora.LoraSlice;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.MoeModel;
import io.github.moelora.Projection;
import io.github.moelora.testkit.Problem;
import io.github.moelora.testkit.Seeds;
import io.github.moelora.tornado.kernels.FloatLoops;
import io.github.moelora.tornado.kernels.PoolMoves;
import io.github.moelora.tornado.layout.SliceTable;
import io.github.moelora.tornado.weights.FloatWeights;
import io.github.moelora.tornado.weights.ProjectionWeights;
import io.github.moelora.tornado.weights.WeightSite;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.Set;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;

/** Which changes a step brings to the device; arrays of the test stand for the device's. */
@Tag("no-device")
class EngineChangesTest {
  private static final MoeModel MODEL = new MoeModel(40, 24, 3, GateUp.HALVES, List.of(0, 1));
  private static final int SLOTS = 3;
  private static final int RANK = 48;

  private static final class Device implements EngineChanges.Device {
    final List<ProjectionWeights> weights = new ArrayList<>();
    final List<int[]> tables = new ArrayList<>();
    final @Nullable LoraAdapter[] loaded = new @Nullable LoraAdapter[SLOTS];
    final EngineChanges changes;
    int stores;
    boolean failing;

    /** Nanoseconds; a store takes one step of it. */
    long now;

    long storeNanos = 1_000_000;

    Device(int poolRanks) {
      MoeLoraConfig config =
          MoeLoraConfig.of(MODEL, SLOTS, 2)
              .withMaxRank(RANK)
              .withPool(new AdapterPool(poolRanks, 2));
      for (int layer : MODEL.layers()) {
        for (Projection projection : Projection.values()) {
          FloatWeights made = new FloatWeights(WeightSite.of(config, layer, projection));
          weights.add(made);
          // of empty slots until the first store
          tables.add(made.table().slices().toHeapArray());
        }
      }
      changes = new EngineChanges(this, () -> now);
    }

    @Override
    public boolean holds(ProjectionWeights site) {
      // no task reads the last one
      return site != weights.getLast();
    }

    @Override
    public void store(ProjectionWeights site) {
      if (failing) {
        throw new OutOfMemoryError("for the test");
      }
      FloatWeights each = (FloatWeights) site;
      PoolMoves.liftFloats(each.pool(), each.moves(), each.staging());
      FloatLoops.storeSlot(each.staging(), each.range(), each.pool());
      tables.set(weights.indexOf(site), each.table().slices().toHeapArray());
      stores++;
      now += storeNanos;
    }

    @Override
    public void close() {
      failing = true;
    }

    void load(int slot, @Nullable LoraAdapter adapter) {
      List<ProjectionWeights.Packed> packed =
          adapter == null ? List.of() : weights.stream().map(each -> each.pack(adapter)).toList();
      for (int i = 0; i < packed.size(); i++) {
        weights.get(i).requireRoom(slot, packed.get(i));
      }
      changes.change(slot, packed);
      for (int i = 0; i < weights.size(); i++) {
        weights.get(i).promise(slot, packed.isEmpty() ? null : packed.get(i));
      }
      loaded[slot] = adapter;
    }

    /** Begins a step and looks up what it names as kernels do; returns how often it stored. */
    int begin(Integer... named) {
      Set<Integer> slots = Set.of(named);
      int before = stores;
      changes.apply(weights, new EngineChanges.Named(slots::contains, Long.MAX_VALUE));
      for (int slot : slots) {
        check(slot, loaded[slot]);
      }
      return stores - before;
    }

    void check(int slot, @Nullable LoraAdapter expected) {
      for (int i = 0; i < weights.size() - 1; i++) {
        FloatWeights site = (FloatWeights) weights.get(i);
        for (int e = 0; e < MODEL.experts(); e++) {
          int at = (slot * MODEL.experts() + e) * SliceTable.INTS;
          List<LoraSlice> slices =
              expected == null ? List.of() : expected.slices(site.layer(), site.projection(), e);
          for (int s = 0; s < LoraAdapter.MAX_SLICES; s++) {
            int entry = at + s * SliceTable.FIELDS;
            int rank = s < slices.size() ? slices.get(s).rank() : 0;
            assertThat(tables.get(i)[entry + SliceTable.RANK]).isEqualTo(rank);
            if (rank > 0) {
              check(site, tables.get(i)[entry + SliceTable.A], slices.get(s));
            }
          }
        }
      }
    }

    private static void check(FloatWeights site, int a, LoraSlice slice) {
      int width = slice.a().columns();
      for (int i = 0; i < slice.rank() * width; i++) {
        assertThat(site.pool().get(a + i)).isEqualTo(slice.a().get(i / width, i % width));
      }
    }
  }

  private static LoraAdapter adapter(int rank) {
    return new Problem(Seeds.of("adapter " + rank), MODEL, 1, 1).randomAdapter(rank, false, 1);
  }

  @Test
  void aSlotThatIsNamedComesWhole() {
    Device device = new Device(SLOTS * RANK);
    device.load(1, adapter(RANK));
    assertThat(device.begin(1)).isGreaterThan(3);
    assertThat(device.begin(1)).isZero();
  }

  /** Each store takes longer than what a step may spend on others. */
  @Test
  void othersComePieceByPiece() {
    Device device = new Device(SLOTS * RANK);
    device.load(0, adapter(5));
    device.begin(0);
    device.load(1, adapter(RANK));
    int steps = 0;
    while (device.begin(0) > 0) {
      steps++;
    }
    assertThat(steps).isGreaterThan(3);
    assertThat(device.begin(0, 1)).isZero();
  }

  @Test
  void quickPiecesComeTogether() {
    Device device = new Device(SLOTS * RANK);
    device.storeNanos = 1;
    device.load(1, adapter(RANK));
    assertThat(device.begin()).isGreaterThan(3);
    assertThat(device.begin(1)).isZero();
  }

  @Test
  void whatHasBegunIsFinishedOnceNamed() {
    Device device = new Device(SLOTS * RANK);
    device.load(1, adapter(RANK));
    assertThat(device.begin()).isEqualTo(1);
    assertThat(device.begin(1)).isGreaterThan(2);
    assertThat(device.begin(1)).isZero();
  }

  @Test
  void aNewerChangeOfASlotThatHasBegunWins() {
    Device device = new Device(SLOTS * RANK);
    device.load(1, adapter(RANK));
    device.begin();
    device.load(1, adapter(7));
    device.begin();
    device.begin(1);
    device.load(1, adapter(RANK));
    device.load(1, null);
    device.begin(1);
  }

  /** What a small pool has no room for before others have gone. */
  @Test
  void allThatGoesMakesRoom() {
    Device device = new Device(60);
    device.load(0, adapter(40));
    device.load(1, adapter(20));
    device.begin(0, 1);
    device.load(0, null);
    device.load(1, adapter(48));
    device.load(0, adapter(12));
    assertThat(device.begin(1)).isGreaterThan(3);
    device.begin(0);
    device.begin(0, 1);
  }

  @Test
  void aSlotThatAPlanNamesKeepsWhatItHeldThen() {
    Device device = new Device(SLOTS * RANK);
    LoraAdapter before = adapter(5);
    device.load(0, before);
    long planned = device.changes.version();
    device.load(0, adapter(9));
    device.changes.apply(device.weights, new EngineChanges.Named(slot -> slot == 0, planned));
    device.check(0, before);
    assertThat(device.begin(0)).isPositive();
  }

  @Test
  void whatFailedIsTriedAgain() {
    Device device = new Device(SLOTS * RANK);
    device.load(2, adapter(RANK));
    device.failing = true;
    assertThatThrownBy(() -> device.begin(2)).isInstanceOf(OutOfMemoryError.class);
    device.failing = false;
    assertThat(device.begin(2)).isGreaterThan(3);
  }

  @Test
  void randomChangesAndSteps() {
    Random random = new Random(Seeds.of("engine changes"));
    Device device = new Device(70);
    for (int i = 0; i < 60; i++) {
      int slot = random.nextInt(SLOTS);
      if (random.nextBoolean()) {
        try {
          device.load(slot, random.nextInt(4) == 0 ? null : adapter(1 + random.nextInt(30)));
        } catch (IllegalStateException e) {
          assertThat(e).hasMessageContaining("must fit into the pool");
        }
      }
      device.storeNanos = random.nextInt(600_000);
      if (random.nextBoolean()) {
        device.begin(slot);
      } else {
        device.begin();
      }
    }
    device.begin(0, 1, 2);
  }
}
