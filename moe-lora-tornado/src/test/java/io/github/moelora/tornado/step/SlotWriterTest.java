package io.github.moelora.tornado.step;

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
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.locks.ReentrantLock;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Changes that fail at every point in turn; arrays of the test stand for the device's. */
@Tag("no-device")
class SlotWriterTest {
  private static final MoeModel MODEL = new MoeModel(40, 24, 3, GateUp.HALVES, List.of(0, 1));
  private static final int RANK = 48;

  /** The weights of all sites, and what a device would hold of them. */
  private static final class Device {
    final List<ProjectionWeights> weights = new ArrayList<>();
    final List<int[]> tables = new ArrayList<>();
    final MoeLoraConfig config;
    final ReentrantLock turn = new ReentrantLock(true);
    final SlotWriter writer = new SlotWriter(weights, new Stores(), turn);
    int stores;
    int failFrom = Integer.MAX_VALUE;
    int failures;
    boolean afterStoring;

    /** Runs before something is stored. */
    Runnable duringStore = () -> {};

    Device(int poolRanks) {
      config =
          MoeLoraConfig.of(MODEL, 3, 2).withMaxRank(RANK).withPool(new AdapterPool(poolRanks, 2));
      TornadoBackend.sites(config).forEach(site -> weights.add(new FloatWeights(site)));
      weights.forEach(_ -> tables.add(new int[0]));
    }

    private final class Stores implements SlotWriter.Stores {
      @Override
      public void piece(int index) {
        store(() -> storePiece((FloatWeights) weights.get(index)));
      }

      @Override
      public void table(int index) {
        assertThat(turn.isHeldByCurrentThread()).isTrue();
        SliceTable table = weights.get(index).table();
        store(() -> tables.set(index, table.slices().toHeapArray()));
      }
    }

    private void storePiece(FloatWeights site) {
      assertThat(turn.isHeldByCurrentThread()).isEqualTo(site.isMoving());
      PoolMoves.liftFloats(site.pool(), site.moves(), site.staging());
      FloatLoops.storeSlot(site.staging(), site.range(), site.pool());
    }

    private void store(Runnable action) {
      boolean fails = stores >= failFrom && stores < failFrom + failures;
      stores++;
      duringStore.run();
      if (fails && !afterStoring) {
        throw new OutOfMemoryError("before storing");
      }
      action.run();
      if (fails) {
        throw new OutOfMemoryError("after storing");
      }
    }

    void load(int slot, LoraAdapter adapter) {
      List<ProjectionWeights.Packed> packed =
          weights.stream().map(each -> each.pack(adapter)).toList();
      for (int i = 0; i < packed.size(); i++) {
        weights.get(i).requireRoom(slot, packed.get(i));
      }
      writer.change(slot, packed);
      for (int i = 0; i < packed.size(); i++) {
        weights.get(i).promise(slot, packed.get(i));
      }
    }

    void unload(int slot) {
      writer.change(slot, List.of());
      weights.forEach(each -> each.promise(slot, null));
    }

    /** Looks every weight up as kernels do. */
    void check(int slot, LoraAdapter expected) {
      for (int i = 0; i < weights.size(); i++) {
        FloatWeights each = (FloatWeights) weights.get(i);
        for (int e = 0; e < MODEL.experts(); e++) {
          List<LoraSlice> slices = expected.slices(each.layer(), each.projection(), e);
          for (int s = 0; s < slices.size(); s++) {
            int at = (slot * MODEL.experts() + e) * SliceTable.INTS + s * SliceTable.FIELDS;
            check(each, tables.get(i), at, slices.get(s));
          }
        }
      }
    }

    private static void check(FloatWeights site, int[] table, int at, LoraSlice slice) {
      assertThat(table[at + SliceTable.RANK]).isEqualTo(slice.rank());
      int a = table[at + SliceTable.A];
      int width = slice.a().columns();
      for (int i = 0; i < slice.rank() * width; i++) {
        assertThat(site.pool().get(a + i)).isEqualTo(slice.a().get(i / width, i % width));
      }
      int b = table[at + SliceTable.B];
      for (int i = 0; i < slice.columns() * slice.rank(); i++) {
        assertThat(site.pool().get(b + i))
            .isEqualTo(slice.b().get(i / slice.rank(), i % slice.rank()));
      }
    }
  }

  private static LoraAdapter adapter(int rank) {
    return new Problem(Seeds.of("adapter " + rank), MODEL, 1, 1).randomAdapter(rank, false, 1);
  }

  /** One failure is made up for; as many as there are tries are taken back. */
  @ParameterizedTest
  @CsvSource({"1, false", "1, true", "3, false", "3, true"})
  void aFailureAnywhereLeavesTheSlotAsItWasOrAsItShallBe(int failures, boolean afterStoring) {
    LoraAdapter before = adapter(RANK);
    LoraAdapter other = adapter(5);
    LoraAdapter after = adapter(RANK - 7);
    int failed = 0;
    for (int at = 0; ; at++) {
      Device device = new Device(2 * RANK + 16);
      device.load(0, before);
      device.load(2, other);
      device.failFrom = device.stores + at;
      device.failures = failures;
      device.afterStoring = afterStoring;
      int last = device.stores;
      LoraAdapter expected = after;
      try {
        device.load(0, after);
      } catch (OutOfMemoryError e) {
        expected = before;
        failed++;
      }
      assertThat(device.writer.loss()).isNull();
      device.check(0, expected);
      device.check(2, other);
      if (device.stores <= last + at) {
        break;
      }
      device.failures = 0;
      device.load(0, after);
      device.check(0, after);
      device.check(2, other);
    }
    assertThat(failed).isEqualTo(failures == 1 ? 0 : failed).isGreaterThanOrEqualTo(failures - 1);
  }

  @Test
  void anUnloadThatFailsIsTakenBack() {
    LoraAdapter before = adapter(RANK);
    Device device = new Device(2 * RANK);
    device.load(1, before);
    device.failFrom = device.stores + 2;
    device.failures = 3;
    assertThatThrownBy(() -> device.unload(1)).isInstanceOf(OutOfMemoryError.class);
    device.check(1, before);
    assertThat(device.writer.loss()).isNull();
  }

  /** Without room for both, the old weights are overwritten. */
  @Test
  void whatCannotBeTakenBackIsSaidToBeLost() {
    Device device = new Device(RANK);
    device.load(1, adapter(RANK));
    device.failFrom = device.stores + 1;
    device.failures = 3;
    assertThatThrownBy(() -> device.load(1, adapter(RANK - 7)))
        .isInstanceOf(OutOfMemoryError.class);
    assertThat(device.writer.loss()).isInstanceOf(OutOfMemoryError.class);
  }

  /** Gaps between others' weights are joined on the way, and a failure there is repeated. */
  @ParameterizedTest
  @CsvSource({"false", "true"})
  void othersMoveWithoutLoss(boolean afterStoring) {
    LoraAdapter small = adapter(20);
    LoraAdapter large = adapter(40);
    for (int at = 0; at < 40; at += 3) {
      Device device = new Device(60);
      device.load(0, small);
      device.load(1, small);
      device.load(2, small);
      device.unload(0);
      device.unload(2);
      device.failFrom = device.stores + at;
      device.failures = 2;
      device.afterStoring = afterStoring;
      device.load(2, large);
      device.check(2, large);
      device.check(1, small);
    }
  }

  // ---- runs beside a change ----

  /** Looks at weights as runs do, whenever something is stored and the device is free. */
  private static final class Runs {
    private final Device device;
    private final Runnable look;
    private int beside;
    private int kept;

    Runs(Device device, Runnable look) {
      this.device = device;
      this.look = look;
      device.duringStore = this::come;
    }

    private void come() {
      if (device.turn.isLocked()) {
        kept++;
      } else {
        look.run();
        beside++;
      }
    }
  }

  /** A run waits for the table of a site, never for weights. */
  @Test
  void piecesComeBesideRuns() {
    LoraAdapter other = adapter(5);
    Device device = new Device(3 * RANK);
    device.load(2, other);
    Runs runs = new Runs(device, () -> device.check(2, other));
    device.load(0, adapter(RANK));
    int sites = 2 * MODEL.layers().size();
    assertThat(runs.kept).isEqualTo(sites);
    assertThat(runs.beside).isGreaterThan(sites);
  }

  /** Weights on the move are in two parts until the last of them is stored. */
  @Test
  void noRunComesWhileWeightsMove() {
    LoraAdapter small = adapter(20);
    Device device = new Device(60);
    device.load(0, small);
    device.load(1, small);
    device.load(2, small);
    device.unload(0);
    device.unload(2);
    Runs runs = new Runs(device, () -> device.check(1, small));
    device.load(2, adapter(40));
    // a move and two tables at each site
    assertThat(runs.kept).isGreaterThanOrEqualTo(3 * 2 * MODEL.layers().size());
    assertThat(runs.beside).isGreaterThanOrEqualTo(2 * MODEL.layers().size());
  }

  @Test
  void projectionsComeInTheOrderOfSites() {
    Device device = new Device(RANK);
    assertThat(device.weights.stream().map(ProjectionWeights::projection))
        .containsExactly(Projection.GATE_UP, Projection.DOWN, Projection.GATE_UP, Projection.DOWN);
  }
}
