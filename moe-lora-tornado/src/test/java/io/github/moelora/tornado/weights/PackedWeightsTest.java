package io.github.moelora.tornado.weights;

import static org.assertj.core.api.Assertions.assertThat;

import io.github.moelora.DType;
import io.github.moelora.GateUp;
import io.github.moelora.LoraAdapter;
import io.github.moelora.LoraSlice;
import io.github.moelora.Matrix;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.MoeModel;
import io.github.moelora.Projection;
import io.github.moelora.testkit.Seeds;
import io.github.moelora.tornado.device.Rounding;
import io.github.moelora.tornado.layout.PackedLayout;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import uk.ac.manchester.tornado.api.types.arrays.LongArray;

/** Every weight lies where {@link PackedLayout} says, whatever memory it comes from. */
@Tag("no-device")
class PackedWeightsTest {
  private static final int HIDDEN = 84;
  private static final int INNER = 20;
  private static final int EXPERTS = 3;

  /** How a matrix lies in memory. */
  enum Order {
    ROWS,
    SPACED_ROWS,
    COLUMNS
  }

  @ParameterizedTest
  @CsvSource({
    "BF16, BF16, ROWS, 16",
    "BF16, BF16, SPACED_ROWS, 13",
    "BF16, BF16, COLUMNS, 7",
    "BF16, F32, ROWS, 1",
    "BF16, F32, SPACED_ROWS, 17",
    "BF16, F32, COLUMNS, 8",
    "BF16, F16, ROWS, 9",
    "F16, F16, ROWS, 23",
    "F16, F32, ROWS, 24",
    "F16, BF16, SPACED_ROWS, 5"
  })
  void everyWeightLiesWhereTheLayoutSays(DType type, DType from, Order order, int rank) {
    Random random = new Random(Seeds.of("packed " + type + from + order + rank));
    MoeModel model = new MoeModel(HIDDEN, INNER, EXPERTS, GateUp.HALVES, List.of(0));
    MoeLoraConfig config =
        MoeLoraConfig.of(model, 2, 1).withMaxRank(32).withWeightType(type).withMaxTokens(1);
    LoraAdapter.Builder builder = LoraAdapter.builder("a");
    int second = 3;
    for (int e = 0; e < EXPERTS; e++) {
      for (int s = 0; s < 2; s++) {
        int ranks = s == 0 ? rank : second;
        builder.add(
            0,
            Projection.GATE_UP,
            e,
            new LoraSlice(
                s * INNER,
                matrix(random, from, order, ranks, HIDDEN),
                matrix(random, from, order, INNER, ranks),
                1));
      }
    }
    LoraAdapter adapter = builder.build();
    PackedWeights weights = new PackedWeights(WeightSite.of(config, 0, Projection.GATE_UP));
    ProjectionWeights.Packed packed = weights.pack(adapter);

    // all in one piece
    packed.stage(1);
    assertThat(packed.stageNext()).isFalse();

    int tiles = PackedLayout.rankTiles(rank + second);
    int atA = 0;
    int atB = 0;
    int checked = 0;
    for (int e = 0; e < EXPERTS; e++) {
      int first = 0;
      for (LoraSlice slice : adapter.slices(0, Projection.GATE_UP, e)) {
        int units = PackedLayout.rankUnits(slice.rank());
        for (int r = 0; r < slice.rank(); r++) {
          for (int h = 0; h < HIDDEN; h++) {
            int at = atA + PackedLayout.indexA(first + r, h, tiles);
            assertThat(bits(weights.stagingA(), at))
                .isEqualTo(Rounding.toBits(type, slice.a().get(r, h)));
            checked++;
          }
          for (int c = 0; c < INNER; c++) {
            int at = atB + PackedLayout.indexB(c, r, units);
            assertThat(bits(weights.stagingB(), at))
                .isEqualTo(Rounding.toBits(type, slice.b().get(c, r)));
          }
        }
        first += slice.rank();
        atB += PackedLayout.sizeB(slice.rank(), INNER);
      }
      atA += PackedLayout.sizeA(rank + second, HIDDEN);
    }
    assertThat(checked).isEqualTo(EXPERTS * (rank + second) * HIDDEN);
  }

  private static short bits(LongArray staging, int at) {
    return staging.getSegment().getAtIndex(ValueLayout.JAVA_SHORT, at);
  }

  private static Matrix matrix(Random random, DType type, Order order, int rows, int columns) {
    int space = order == Order.SPACED_ROWS ? 3 : 0;
    // an odd number of bytes before the first element
    byte[] memory = new byte[1 + (rows + 1) * (columns + space) * type.bytes()];
    MemorySegment data = MemorySegment.ofArray(memory).asSlice(1);
    Matrix matrix =
        order == Order.COLUMNS
            ? new Matrix(data, type, rows, columns, 1, 1, rows)
            : new Matrix(data, type, rows, columns, 1, columns + space, 1);
    for (int i = 0; i < rows; i++) {
      for (int j = 0; j < columns; j++) {
        matrix.set(i, j, (float) random.nextGaussian());
      }
    }
    return matrix;
  }
}
