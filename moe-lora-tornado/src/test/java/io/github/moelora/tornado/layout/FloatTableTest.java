package io.github.moelora.tornado.layout;

import static org.assertj.core.api.Assertions.assertThat;

import io.github.moelora.GateUp;
import io.github.moelora.LoraAdapter;
import io.github.moelora.LoraSlice;
import io.github.moelora.Matrix;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.MoeModel;
import java.util.List;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import uk.ac.manchester.tornado.api.types.arrays.FloatArray;

/** The table in float32 says what the other does, through all that happens to that. */
@Tag("no-device")
class FloatTableTest {
  private static final int SLOTS = 3;
  private static final int EXPERTS = 2;

  private final SliceTable table =
      new SliceTable(
          MoeLoraConfig.of(new MoeModel(8, 6, EXPERTS, GateUp.HALVES, List.of(0)), SLOTS, 1));

  @Test
  void followsEveryChange() {
    requireSame(0);
    table.enter(1, 0, 0, slice(0, 6, 3, 0.1f), 5, Integer.MAX_VALUE);
    table.enter(1, 0, 1, slice(6, 6, 2, 1e-30f), FloatTable.SPLIT, FloatTable.SPLIT - 1);
    table.enter(2, 1, 0, slice(6, 6, 1, -7), 123_456_789, 1_234_567);
    table.updateSummary();
    requireSame(2);
    SliceTable.Saved saved = table.newSaved();
    table.save(1, saved);
    table.rebase(1, SliceTable.B, -FloatTable.SPLIT + 1);
    table.clear(2, 1);
    requireSame(2);
    table.clear(1, 0);
    table.updateSummary();
    requireSame(1);
    table.restore(1, saved);
    table.updateSummary();
    requireSame(2);
  }

  private static LoraSlice slice(int first, int columns, int rank, float scale) {
    Matrix a = Matrix.ofFloats(rank, 8, new float[rank * 8]);
    Matrix b = Matrix.ofFloats(columns, rank, new float[columns * rank]);
    return new LoraSlice(first, a, b, scale);
  }

  private void requireSame(int mostSlices) {
    FloatArray floats = table.floats();
    assertThat(floats.get(FloatTable.MOST_SLICES)).isEqualTo(mostSlices);
    for (int site = 0; site < SLOTS * EXPERTS; site++) {
      for (int s = 0; s < LoraAdapter.MAX_SLICES; s++) {
        int at = FloatTable.FIRST + site * FloatTable.FLOATS + s * FloatTable.FIELDS;
        int from = site * SliceTable.INTS + s * SliceTable.FIELDS;
        String what = "site %d, slice %d".formatted(site, s);
        assertThat(offset(at + FloatTable.A)).as(what).isEqualTo(get(from + SliceTable.A));
        assertThat(offset(at + FloatTable.B)).as(what).isEqualTo(get(from + SliceTable.B));
        assertThat((int) floats.get(at + FloatTable.RANK))
            .as(what)
            .isEqualTo(get(from + SliceTable.RANK));
        assertThat((int) floats.get(at + FloatTable.FIRST_COLUMN))
            .as(what)
            .isEqualTo(get(from + SliceTable.FIRST_COLUMN));
        assertThat((int) floats.get(at + FloatTable.COLUMNS))
            .as(what)
            .isEqualTo(get(from + SliceTable.COLUMNS));
        assertThat(floats.get(at + FloatTable.SCALE))
            .as(what)
            .isEqualTo(table.scales().get(site * LoraAdapter.MAX_SLICES + s));
      }
    }
  }

  private int get(int index) {
    return table.slices().get(index);
  }

  private int offset(int at) {
    int high = (int) table.floats().get(at);
    return high * FloatTable.SPLIT + (int) table.floats().get(at + 1);
  }
}
