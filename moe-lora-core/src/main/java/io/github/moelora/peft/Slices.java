package io.github.moelora.peft;

import io.github.moelora.DType;
import io.github.moelora.GateUp;
import io.github.moelora.LoraAdapter;
import io.github.moelora.LoraSlice;
import io.github.moelora.Matrix;
import io.github.moelora.MoeModel;
import io.github.moelora.Projection;
import io.github.moelora.peft.PeftAdapter.Entry;
import io.github.moelora.peft.PeftAdapter.Linear;
import io.github.moelora.peft.ReadOptions.ColumnOrder;
import io.github.moelora.safetensors.SafeTensorsFile.Tensor;
import java.lang.foreign.MemorySegment;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/** Makes slices of entries: views of the file wherever the layout allows. */
final class Slices {
  /** Where gate and up of one expert meet. */
  private record Site(int layer, int expert) {}

  /** Gate and up of one expert, either of which may be missing. */
  private static final class Halves {
    private @Nullable LoraSlice gate;
    private @Nullable LoraSlice up;
  }

  private final MoeModel model;
  private final Orientation orientation;
  private final ColumnOrder columnOrder;

  Slices(MoeModel model, Orientation orientation, ColumnOrder columnOrder) {
    this.model = model;
    this.orientation = orientation;
    this.columnOrder = columnOrder;
  }

  /** Adds the slices of all entries, which fit the model. */
  void add(List<Entry> entries, LoraAdapter.Builder builder) {
    Map<Site, Halves> interleaved = new LinkedHashMap<>();
    for (Entry entry : entries) {
      Linear linear = entry.linear();
      boolean half = linear == Linear.GATE || linear == Linear.UP;
      int count = entry.expert() < 0 ? model.experts() : 1;
      Shared shared = new Shared();
      for (int i = 0; i < count; i++) {
        int expert = entry.expert() < 0 ? i : entry.expert();
        LoraSlice slice = slice(entry, i, shared);
        if (half && model.gateUp() == GateUp.INTERLEAVED) {
          Halves halves =
              interleaved.computeIfAbsent(new Site(entry.layer(), expert), site -> new Halves());
          if (linear == Linear.GATE) {
            halves.gate = slice;
          } else {
            halves.up = slice;
          }
        } else {
          builder.add(entry.layer(), linear.projection(), expert, slice);
        }
      }
    }
    interleaved.forEach(
        (site, halves) ->
            builder.add(site.layer(), Projection.GATE_UP, site.expert(), interleave(halves)));
  }

  /** Matrices that all experts of one entry share. */
  private static final class Shared {
    private @Nullable Matrix a;
    private @Nullable Matrix b;
  }

  private LoraSlice slice(Entry entry, int index, Shared shared) {
    Matrix a = shared.a == null ? a(entry, index) : shared.a;
    Matrix b = shared.b == null ? b(entry, index) : shared.b;
    shared.a = isShared(entry, entry.a(), entry.linear() != Linear.DOWN) ? a : null;
    shared.b = isShared(entry, entry.b(), entry.linear() == Linear.DOWN) ? b : null;
    boolean second = entry.linear() == Linear.UP && model.gateUp() == GateUp.HALVES;
    return new LoraSlice(second ? model.intermediateSize() : 0, a, b, entry.scale());
  }

  /** Whether all experts have the same factor. */
  private static boolean isShared(Entry entry, Tensor tensor, boolean sharedOfRows) {
    return switch (entry.packing()) {
      case PACKED, PACKED_TURNED -> tensor.shape().getFirst() == 1;
      case ROWS -> sharedOfRows;
      case SINGLE, STACKED -> false;
    };
  }

  private Matrix a(Entry entry, int index) {
    int in = orientation.in(entry);
    return switch (entry.packing()) {
      case SINGLE, STACKED ->
          orientation == Orientation.PROJECTION ? rowsOfA(entry, index) : columnsOfB(entry, index);
      case PACKED -> packed(entry, entry.a(), index, entry.rank(), in);
      case PACKED_TURNED -> transposed(packed(entry, entry.a(), index, in, entry.rank()));
      case ROWS ->
          entry.linear() == Linear.DOWN
              ? transposed(expertRows(entry, index))
              : Matrix.of(entry.a().data(), entry.type(), entry.rank(), in);
    };
  }

  private Matrix b(Entry entry, int index) {
    int out = orientation.out(entry);
    return switch (entry.packing()) {
      case SINGLE, STACKED ->
          orientation == Orientation.PROJECTION
              ? transposed(columnsOfB(entry, index))
              : transposed(rowsOfA(entry, index));
      case PACKED -> packed(entry, entry.b(), index, out, entry.rank());
      case PACKED_TURNED -> transposed(packed(entry, entry.b(), index, entry.rank(), out));
      case ROWS ->
          entry.linear() == Linear.DOWN
              ? transposed(Matrix.of(entry.a().data(), entry.type(), entry.rank(), out))
              : expertRows(entry, index);
    };
  }

  /** {@code [R, width]}: the rows of the file's A that belong to an expert. */
  private static Matrix rowsOfA(Entry entry, int index) {
    int width = Math.toIntExact(entry.a().shape().get(1));
    long from = (long) index * entry.rank() * width;
    return new Matrix(entry.a().data(), entry.type(), entry.rank(), width, from, width, 1);
  }

  /** {@code [R, width]}: the columns of the file's B that belong to an expert, as rows. */
  private Matrix columnsOfB(Entry entry, int index) {
    int width = Math.toIntExact(entry.b().shape().get(0));
    long row = entry.b().shape().get(1);
    // rank i of expert e is column i*E + e of B, or e*R + i where it is grouped
    boolean grouped = columnOrder == ColumnOrder.GROUPED_BY_EXPERT || entry.expert() >= 0;
    long from = grouped ? (long) index * entry.rank() : index;
    long step = grouped ? 1 : entry.experts();
    return new Matrix(entry.b().data(), entry.type(), entry.rank(), width, from, step, row);
  }

  private static Matrix packed(Entry entry, Tensor tensor, int index, int rows, int columns) {
    long from = tensor.shape().getFirst() == 1 ? 0 : (long) index * rows * columns;
    return new Matrix(tensor.data(), entry.type(), rows, columns, from, columns, 1);
  }

  /** {@code [I, R]}: an expert's rows of a stack. */
  private Matrix expertRows(Entry entry, int index) {
    int rows = model.intermediateSize();
    long from = (long) index * rows * entry.rank();
    return new Matrix(entry.b().data(), entry.type(), rows, entry.rank(), from, entry.rank(), 1);
  }

  private static Matrix transposed(Matrix m) {
    return new Matrix(
        m.data(), m.type(), m.columns(), m.rows(), m.offset(), m.columnStride(), m.rowStride());
  }

  /**
   * One pair in place of two, of the sum of their ranks: A holds gate's rows and then up's, B has
   * gate's outputs in even rows and up's in odd ones, each in its own columns and 0 elsewhere.
   */
  private LoraSlice interleave(Halves halves) {
    LoraSlice gate = halves.gate;
    LoraSlice up = halves.up;
    LoraSlice any = gate == null ? up : gate;
    if (any == null) {
      throw new IllegalStateException("one of gate and up is there");
    }
    int rank = (gate == null ? 0 : gate.rank()) + (up == null ? 0 : up.rank());
    boolean alike =
        gate == null
            || up == null
            || (gate.scale() == up.scale() && gate.a().type() == up.a().type());
    // float32 holds what the 16-bit types hold; only scales that differ are rounded into B
    DType type = alike ? any.a().type() : DType.F32;
    Matrix a = zeros(type, rank, any.a().columns());
    Matrix b = zeros(type, 2 * model.intermediateSize(), rank);
    int at = 0;
    if (gate != null) {
      copy(gate, a, b, at, 0, alike);
      at = gate.rank();
    }
    if (up != null) {
      copy(up, a, b, at, 1, alike);
    }
    return new LoraSlice(0, a, b, alike ? any.scale() : 1);
  }

  private static Matrix zeros(DType type, int rows, int columns) {
    byte[] bytes = new byte[Math.toIntExact((long) rows * columns * type.bytes())];
    return Matrix.of(MemorySegment.ofArray(bytes), type, rows, columns);
  }

  private static void copy(
      LoraSlice from, Matrix a, Matrix b, int firstRank, int parity, boolean alike) {
    float factor = alike ? 1 : from.scale();
    for (int r = 0; r < from.rank(); r++) {
      for (int h = 0; h < a.columns(); h++) {
        a.set(firstRank + r, h, from.a().get(r, h));
      }
      for (int o = 0; o < from.columns(); o++) {
        b.set(2 * o + parity, firstRank + r, factor * from.b().get(o, r));
      }
    }
  }
}
