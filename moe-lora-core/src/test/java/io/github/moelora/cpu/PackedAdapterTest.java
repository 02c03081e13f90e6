package io.github.moelora.cpu;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assertions.assertThatIllegalStateException;

import io.github.moelora.DType;
import io.github.moelora.DenseModule;
import io.github.moelora.ExpertMap;
import io.github.moelora.GateUp;
import io.github.moelora.LoraAdapter;
import io.github.moelora.LoraSlice;
import io.github.moelora.Matrix;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.MoeModel;
import io.github.moelora.Projection;
import io.github.moelora.ProjectionCall;
import io.github.moelora.testkit.Problem;
import io.github.moelora.testkit.Seeds;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
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

  /** Every type of file and of slot, ranks with and without whole squares, on several threads. */
  @ParameterizedTest
  @EnumSource(DType.class)
  void manyChunksHoldWhatOneHolds(DType slotType) {
    MoeModel model = new MoeModel(262, 37, 3, GateUp.HALVES, List.of(0));
    for (DType fileType : DType.values()) {
      for (int rank : new int[] {1, 3, 4, 6, 20, 33}) {
        Problem problem =
            new Problem(Seeds.of("chunks"), model, 1, 1).types(fileType, fileType, fileType);
        LoraAdapter adapter = turned(model, problem.randomAdapter(rank, false, 0.9), rank % 2 == 0);
        MoeLoraConfig config =
            MoeLoraConfig.of(model, 1, 1).withMaxRank(rank).withWeightType(slotType);
        try (PackedAdapter packed = new PackedAdapter(config, adapter, 3, 100)) {
          for (int site = 0; site < 6; site++) {
            Projection projection = site < 3 ? Projection.GATE_UP : Projection.DOWN;
            List<LoraSlice> sources = adapter.slices(0, projection, site % 3);
            PackedAdapter.Slice[] slices = packed.slices(site);
            assertThat(slices).hasSameSizeAs(sources);
            for (int s = 0; s < slices.length; s++) {
              // 100 bytes are less than any site has
              MemorySegment weights = packed.weights(site);
              assertElements(weights, slotType, slices[s].a(), sources.get(s).a(), true);
              assertElements(weights, slotType, slices[s].b(), sources.get(s).b(), false);
            }
          }
        }
      }
    }
  }

  /** The same adapter, if asked with every matrix stored column by column. */
  private static LoraAdapter turned(MoeModel model, LoraAdapter adapter, boolean turn) {
    LoraAdapter.Builder builder = LoraAdapter.builder("turned");
    for (Projection projection : Projection.values()) {
      for (int e = 0; e < model.experts(); e++) {
        for (LoraSlice slice : adapter.slices(0, projection, e)) {
          Matrix a = turn ? turned(slice.a()) : slice.a();
          Matrix b = turn ? turned(slice.b()) : slice.b();
          builder.add(0, projection, e, new LoraSlice(slice.firstColumn(), a, b, slice.scale()));
        }
      }
    }
    return builder.build();
  }

  private static Matrix turned(Matrix matrix) {
    int rows = matrix.rows();
    int columns = matrix.columns();
    MemorySegment data = MemorySegment.ofArray(new byte[rows * columns * matrix.type().bytes()]);
    Matrix turned = new Matrix(data, matrix.type(), rows, columns, 0, 1, rows);
    for (int i = 0; i < rows; i++) {
      for (int j = 0; j < columns; j++) {
        turned.set(i, j, matrix.get(i, j));
      }
    }
    return turned;
  }

  private static void assertElements(
      MemorySegment weights,
      DType type,
      PackedAdapter.Panels panels,
      Matrix source,
      boolean ownWidth) {
    int width = ownWidth ? source.rows() : (source.rows() + 15) / 16 * 16;
    MemorySegment one = MemorySegment.ofArray(new byte[4]);
    for (int k = 0; k < source.columns(); k++) {
      for (int i = 0; i < width; i++) {
        type.set(one, 0, i < source.rows() ? source.get(i, k) : 0);
        float expected = type.get(one, 0);
        float actual = type.get(weights, element(panels, k, i));
        if (actual != expected) {
          throw new AssertionError("row %d, %d is %s, not %s".formatted(k, i, actual, expected));
        }
      }
    }
  }

  /** Any element of A or B, of any type; found in the pass that packs. */
  @ParameterizedTest
  @EnumSource(DType.class)
  void whatIsNotFiniteIsFoundWhereverItIs(DType slotType) {
    MoeModel model = new MoeModel(261, 7, 1, GateUp.UP_ONLY, List.of(0));
    for (DType fileType : DType.values()) {
      Problem problem =
          new Problem(Seeds.of("late"), model, 1, 1).types(fileType, fileType, fileType);
      for (int rank : new int[] {3, 4, 20}) {
        LoraAdapter adapter = problem.randomAdapter(rank, true, 1);
        MoeLoraConfig config =
            MoeLoraConfig.of(model, 1, 1).withMaxRank(rank).withWeightType(slotType);
        Matrix a = adapter.slices(0, Projection.GATE_UP, 0).getFirst().a();
        Matrix b = adapter.slices(0, Projection.DOWN, 0).getFirst().b();
        for (float value : new float[] {Float.NaN, Float.NEGATIVE_INFINITY}) {
          for (int at : new int[] {0, 3, 255, 256, 260}) {
            assertRefused(config, adapter, a, new int[] {rank - 1, at}, value);
            assertRefused(config, adapter, b, new int[] {at, rank - 1}, value);
          }
        }
        new PackedAdapter(config, adapter, 2, 100).close();
      }
    }
  }

  /** After the adapter was built, as where a mapped file changes. */
  private static void assertRefused(
      MoeLoraConfig config, LoraAdapter adapter, Matrix matrix, int[] at, float value) {
    float before = matrix.get(at[0], at[1]);
    matrix.set(at[0], at[1], value);
    assertThatIllegalArgumentException()
        .isThrownBy(() -> new PackedAdapter(config, adapter, 2, 100))
        .withMessageContaining("[%d,%d] must be finite, got %s", at[0], at[1], value);
    matrix.set(at[0], at[1], before);
  }

  /** Memory of one thread is packed by that thread. */
  @Test
  void confinedMemoryIsPacked() {
    MoeModel model = new MoeModel(16, 8, 2, GateUp.UP_ONLY, List.of(0));
    LoraAdapter heap = new Problem(Seeds.of("confined"), model, 1, 1).randomAdapter(4, true, 1);
    try (Arena arena = Arena.ofConfined();
        PackedAdapter packed =
            new PackedAdapter(MoeLoraConfig.of(model, 1, 1), heap.copyTo(arena), 3, 100)) {
      LoraSlice source = heap.slices(0, Projection.DOWN, 1).getFirst();
      assertElements(packed.weights(3), DType.F32, packed.slices(3)[0].b(), source.b(), false);
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
