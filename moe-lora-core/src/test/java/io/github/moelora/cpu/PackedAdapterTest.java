package io.github.moelora.cpu;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalStateException;

import io.github.moelora.DType;
import io.github.moelora.DenseModule;
import io.github.moelora.ExpertMap;
import io.github.moelora.GateUp;
import io.github.moelora.LoraAdapter;
import io.github.moelora.LoraSlice;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.MoeModel;
import io.github.moelora.Projection;
import io.github.moelora.ProjectionCall;
import io.github.moelora.testkit.Problem;
import io.github.moelora.testkit.Seeds;
import java.lang.foreign.ValueLayout;
import java.util.List;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;

class PackedAdapterTest {
  private static final MoeModel MODEL =
      new MoeModel(19, 21, 3, GateUp.HALVES, List.of(2, 4))
          .withDense(DenseModule.inLayers("*.q", List.of(0, 1, 2, 3, 4, 5), 11, 37));

  @ParameterizedTest
  @CsvSource({"0, 0", "1, 16", "15, 16", "16, 16", "17, 32"})
  void widthsArePaddedToLanes(int columns, int padded) {
    assertThat(PackedAdapter.padded(columns)).isEqualTo(padded);
  }

  @ParameterizedTest
  @EnumSource(DType.class)
  void everyWeightLiesWhereTheKernelsReadIt(DType type) {
    ExpertMap map = ExpertMap.of(1, -1, 0);
    Problem problem = new Problem(Seeds.of("packed"), MODEL, 1, 1).types(type, type, type);
    LoraAdapter adapter = problem.randomAdapter(21, false, 0.7);
    MoeLoraConfig config = MoeLoraConfig.of(MODEL, 1, 1).withWeightType(type).withExpertMap(map);
    try (PackedAdapter packed = new PackedAdapter(config, adapter, 1)) {
      long end = 0;
      for (int layer = 0; layer < 2; layer++) {
        for (Projection projection : Projection.values()) {
          for (int e = 0; e < 2; e++) {
            List<LoraSlice> sources =
                adapter.slices(MODEL.layers().get(layer), projection, map.global(e));
            ProjectionCall call =
                projection == Projection.DOWN
                    ? ProjectionCall.down(MODEL.layers().get(layer))
                    : ProjectionCall.gateUp(MODEL.layers().get(layer));
            int site = PackedAdapter.firstSite(config, call) + e;
            end = assertPacked(packed, type, packed.slices(site), sources, end);
          }
        }
      }
      for (int module = 0; module < MODEL.dense().size(); module++) {
        int site = PackedAdapter.firstSite(config, ProjectionCall.dense(module));
        List<LoraSlice> sources = adapter.slices(module + ".q");
        end = assertPacked(packed, type, packed.slices(site), sources, end);
      }
      assertThat(packed.weights(0).byteSize()).isEqualTo((end + 16) * type.bytes());
      // rows of a tile are read as aligned vectors
      assertThat(packed.weights(0).address() % 64).isZero();
    }
  }

  private static long assertPacked(
      PackedAdapter packed, DType type, PackedAdapter.Slice slice, LoraSlice source) {
    assertThat(slice.firstColumn()).isEqualTo(source.firstColumn());
    assertThat(slice.columns()).isEqualTo(source.columns());
    assertThat(slice.endColumn()).isEqualTo(source.endColumn());
    assertThat(slice.rank()).isEqualTo(source.rank());
    assertThat(slice.scale()).isEqualTo(source.scale());
    int inputs = source.a().columns();
    int rank = source.rank();
    assertThat(slice.a()).isEqualTo(new PackedAdapter.Panels(slice.a().at(), inputs, rank));
    int padded = (source.columns() + 15) / 16 * 16;
    long bAt = aligned(slice.a().at() + 4L * ((inputs + 3) / 4) * rank);
    assertThat(slice.b()).isEqualTo(new PackedAdapter.Panels(bAt, rank, padded));
    for (int h = 0; h < inputs; h++) {
      for (int r = 0; r < rank; r++) {
        assertThat(type.get(packed.weights(0), element(slice.a(), h, r)))
            .isEqualTo(source.a().get(r, h));
      }
    }
    for (int r = 0; r < rank; r++) {
      for (int o = 0; o < padded; o++) {
        float expected = o < source.columns() ? source.b().get(o, r) : 0;
        assertThat(type.get(packed.weights(0), element(slice.b(), r, o))).isEqualTo(expected);
      }
    }
    return aligned(bAt + 4L * ((rank + 3) / 4) * padded);
  }

  private static long element(PackedAdapter.Panels panels, int row, int column) {
    return panels.row(column / 16, row) + column % 16;
  }

  /** Seven rows of a panel of 16 and one of 2, in four stripes of two rows. */
  @Test
  void rowsAreDealtToFourStripes() {
    PackedAdapter.Panels panels = new PackedAdapter.Panels(1000, 7, 18);
    assertThat(panels.count()).isEqualTo(2);
    assertThat(panels.width(0)).isEqualTo(16);
    assertThat(panels.width(1)).isEqualTo(2);
    assertThat(panels.stripe()).isEqualTo(36);
    assertThat(IntStream.range(0, 7).mapToLong(k -> panels.row(0, k)))
        .containsExactly(1000L, 1036L, 1072L, 1108L, 1016L, 1052L, 1088L);
    assertThat(IntStream.range(0, 7).mapToLong(k -> panels.row(1, k)))
        .containsExactly(1032L, 1068L, 1104L, 1140L, 1034L, 1070L, 1106L);
    assertThat(panels.end()).isEqualTo(1144);
  }

  /** The usual ranks cost no padding: up to four, and multiples of four. */
  @ParameterizedTest
  @CsvSource({"1, 1", "2, 2", "3, 3", "4, 4", "5, 8", "8, 8", "9, 12", "16, 16", "256, 256"})
  void stripesAreEquallyLong(int depth, int rows) {
    assertThat(new PackedAdapter.Panels(0, depth, 48).end()).isEqualTo(48L * rows);
  }

  /** Slices begin at multiples of 32 elements. */
  private static long aligned(long index) {
    return (index + 31) / 32 * 32;
  }

  /** An adapter pays for its own rank, whatever the largest may be (vLLM #55158). */
  @Test
  void aSmallRankDoesNotPayForTheLargest_vllm55158() {
    Problem problem = new Problem(Seeds.of("own rank"), MODEL, 1, 1);
    MoeLoraConfig config = MoeLoraConfig.of(MODEL, 2, 1).withMaxRank(256);
    try (PackedAdapter small = new PackedAdapter(config, problem.randomAdapter(4, true, 1), 1);
        PackedAdapter large = new PackedAdapter(config, problem.randomAdapter(256, true, 1), 1)) {
      assertThat(large.weights(0).byteSize()).isGreaterThan(32 * small.weights(0).byteSize());
    }
  }

  private static long assertPacked(
      PackedAdapter packed,
      DType type,
      PackedAdapter.Slice[] slices,
      List<LoraSlice> sources,
      long begin) {
    assertThat(slices).hasSameSizeAs(sources);
    long end = begin;
    for (int s = 0; s < slices.length; s++) {
      // one behind the other, so none shares memory with another
      assertThat(slices[s].a().at()).isEqualTo(end);
      end = assertPacked(packed, type, slices[s], sources.get(s));
    }
    return end;
  }

  @Test
  void nothingIsPackedForNothing() {
    try (PackedAdapter packed =
        new PackedAdapter(MoeLoraConfig.of(MODEL, 1, 1), LoraAdapter.builder("none").build(), 1)) {
      assertThat(packed.slices(11)).isEmpty();
      assertThat(packed.slices(17)).isEmpty();
      assertThat(packed.weights(0).byteSize()).isEqualTo(16 * Float.BYTES);
    }
  }

  @Test
  void closeFreesTheWeights() {
    PackedAdapter packed =
        new PackedAdapter(MoeLoraConfig.of(MODEL, 1, 1), LoraAdapter.builder("none").build(), 1);
    packed.close();
    assertThatIllegalStateException()
        .isThrownBy(() -> packed.weights(0).get(ValueLayout.JAVA_BYTE, 0));
  }
}
