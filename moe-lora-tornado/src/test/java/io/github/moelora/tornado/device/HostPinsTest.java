package io.github.moelora.tornado.device;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;

import io.github.moelora.tornado.TestDevice;
import io.github.moelora.tornado.kernels.PackedLoops;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import uk.ac.manchester.tornado.api.TaskGraph;
import uk.ac.manchester.tornado.api.TornadoExecutionPlan;
import uk.ac.manchester.tornado.api.enums.DataTransferMode;
import uk.ac.manchester.tornado.api.types.arrays.FloatArray;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;
import uk.ac.manchester.tornado.api.types.arrays.LongArray;

/** Arrays in pages of their own, as TornadoVM takes them to the device, pinned where that works. */
class HostPinsTest {
  private static final int PAGE = 4096;

  @BeforeAll
  static void requireDevice() {
    TestDevice.require();
  }

  @ParameterizedTest
  @ValueSource(ints = {1, 5, 509, 510, 511, 4099})
  void pagesOfAnArrayAreNoOthers(int elements) {
    LongArray longs = HostPins.longs(elements);
    FloatArray floats = HostPins.floats(elements);
    assertThat(longs.getSize()).isEqualTo(elements);
    assertThat(floats.getSize()).isEqualTo(elements);
    long longPage = longs.getSegmentWithHeader().address();
    long floatPage = floats.getSegmentWithHeader().address();
    assertThat(longPage % PAGE).isZero();
    assertThat(floatPage % PAGE).isZero();
    longs.set(elements - 1, 77);
    floats.set(elements - 1, 3.5f);
    assertThat(longs.get(elements - 1)).isEqualTo(77);
    assertThat(floats.get(elements - 1)).isEqualTo(3.5f);
  }

  @Test
  void whatIsPinnedTravelsAsWell() throws Exception {
    int elements = 1021;
    LongArray from = HostPins.longs(elements);
    LongArray to = new LongArray(elements);
    IntArray range = IntArray.fromElements(0, elements);
    TaskGraph graph =
        new TaskGraph("pinned")
            .transferToDevice(DataTransferMode.EVERY_EXECUTION, from, range)
            .task("store", PackedLoops::store, from, range, to, 0)
            .transferToHost(DataTransferMode.EVERY_EXECUTION, to);
    HostPins pins = HostPins.of(Devices.first());
    try (pins;
        TornadoExecutionPlan plan = new TornadoExecutionPlan(graph.snapshot())) {
      for (int round = 0; round < 3; round++) {
        for (int i = 0; i < elements; i++) {
          from.set(i, 31L * i + round);
        }
        to.init(-1);
        FirstUse.run(plan::execute);
        if (round == 0) {
          pins.pin(from);
        }
        for (int i = 0; i < elements; i++) {
          assertThat(to.get(i)).isEqualTo(31L * i + round);
        }
      }
      boolean cuda = DeviceTraits.hasTensorCores(Devices.first());
      assertThat(pins.bytes()).isIn(0L, cuda ? from.getNumBytesOfSegmentWithHeader() : 0L);
    }
    assertThat(pins.bytes()).isZero();
  }

  @Test
  void arraysThatSharePagesAreRefused() {
    LongArray array = new LongArray(3);
    long address = array.getSegmentWithHeader().address();
    if (address % PAGE != 0) {
      assertThatIllegalArgumentException()
          .isThrownBy(() -> HostPins.of(Devices.first()).pin(array))
          .withMessage("array must begin at a page, got address " + address);
    }
  }
}
