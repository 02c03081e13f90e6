package io.github.moelora.tornado.kernels;

import static org.assertj.core.api.Assertions.assertThat;

import io.github.moelora.spi.PlanFormat;
import io.github.moelora.tornado.layout.Sizes;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import uk.ac.manchester.tornado.api.types.HalfFloat;
import uk.ac.manchester.tornado.api.types.arrays.FloatArray;
import uk.ac.manchester.tornado.api.types.arrays.HalfFloatArray;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;

/** {@link SmallKernels} called as Java; the engine tests run them on the device. */
@Tag("no-device")
class SmallKernelsTest {
  private static final int PAIRS = 3;
  private static final int MAX_PAIRS = 5;
  private static final int WIDTH = 12;
  private static final int OFFSET = 4;
  private static final int COLUMNS = 6;

  private static IntArray sizes() {
    IntArray sizes = new IntArray(Sizes.COUNT);
    sizes.init(-1);
    sizes.set(Sizes.Y_WIDTH, WIDTH);
    sizes.set(Sizes.COLUMN_OFFSET, OFFSET);
    return sizes;
  }

  private static IntArray counts() {
    IntArray counts = new IntArray(PlanFormat.COUNTS);
    counts.init(-1);
    counts.set(PlanFormat.PAIRS, PAIRS);
    return counts;
  }

  private static boolean isZeroed(int row, int column) {
    return row < PAIRS && column >= OFFSET && column < OFFSET + COLUMNS;
  }

  @Test
  void readPairs() {
    IntArray pairs = new IntArray(1);
    SmallKernels.readPairs(counts(), pairs);
    assertThat(pairs.get(0)).isEqualTo(PAIRS);
  }

  @Test
  void clear() {
    FloatArray scratch = new FloatArray(7);
    scratch.init(Float.NaN);
    SmallKernels.clear(scratch);
    for (int i = 0; i < 7; i++) {
      assertThat(scratch.get(i)).isZero();
    }
  }

  @Test
  void zeroWords() {
    IntArray y = new IntArray(MAX_PAIRS * WIDTH / 2);
    y.init(-1);
    SmallKernels.zeroWords(sizes(), counts(), y, MAX_PAIRS, COLUMNS / 2);
    for (int i = 0; i < y.getSize(); i++) {
      int row = i / (WIDTH / 2);
      int column = 2 * (i % (WIDTH / 2));
      assertThat(y.get(i)).as("word %d", i).isEqualTo(isZeroed(row, column) ? 0 : -1);
    }
  }

  @Test
  void zeroHalves() {
    HalfFloatArray y = new HalfFloatArray(MAX_PAIRS * WIDTH);
    y.init(new HalfFloat(2));
    SmallKernels.zeroHalves(sizes(), counts(), y, MAX_PAIRS, COLUMNS);
    for (int i = 0; i < y.getSize(); i++) {
      float expected = isZeroed(i / WIDTH, i % WIDTH) ? 0 : 2;
      assertThat(y.get(i).getFloat32()).as("element %d", i).isEqualTo(expected);
    }
  }
}
