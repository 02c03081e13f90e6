package io.github.moelora.gguf;

import io.github.moelora.GateUp;
import io.github.moelora.LoraSlice;
import io.github.moelora.MoeModel;
import io.github.moelora.Projection;
import java.util.ArrayList;
import java.util.List;

/**
 * A weight of the base model that an exported pair changes: some output columns of a projection.
 *
 * @param name the weight's part of the tensor name
 * @param projection projection that it is part of
 * @param rows number of rows of the weight
 * @param gateUp order of the projection's columns
 * @param first 0 for all rows or the gate's, 1 for those of up
 * @param whole whether the weight has all columns of the projection
 */
record ExportTarget(
    String name, Projection projection, int rows, GateUp gateUp, int first, boolean whole) {

  /** The weights of a layer. */
  static List<ExportTarget> all(MoeModel model, boolean fusedGateUp) {
    List<ExportTarget> targets = new ArrayList<>();
    int half = model.intermediateSize();
    GateUp order = model.gateUp();
    Projection gateUp = Projection.GATE_UP;
    if (!order.gated()) {
      targets.add(new ExportTarget("ffn_up_exps", gateUp, half, order, 0, true));
    } else if (fusedGateUp) {
      targets.add(new ExportTarget("ffn_gate_up_exps", gateUp, 2 * half, order, 0, true));
    } else {
      targets.add(new ExportTarget("ffn_gate_exps", gateUp, half, order, 0, false));
      targets.add(new ExportTarget("ffn_up_exps", gateUp, half, order, 1, false));
    }
    Projection down = Projection.DOWN;
    targets.add(new ExportTarget("ffn_down_exps", down, model.hiddenSize(), order, 0, true));
    return targets;
  }

  /** Column of the projection that row {@code row} of the weight is. */
  int column(int row) {
    if (projection == Projection.DOWN || gateUp == GateUp.UP_ONLY) {
      return row;
    }
    int half = whole ? rows / 2 : rows;
    boolean up = first == 1 || row >= half;
    int within = row % half;
    return gateUp == GateUp.INTERLEAVED ? 2 * within + (up ? 1 : 0) : within + (up ? half : 0);
  }

  boolean isTouchedBy(LoraSlice slice) {
    for (int row = 0; row < rows; row++) {
      if (covers(slice, row)) {
        return true;
      }
    }
    return false;
  }

  /** Whether a slice changes a row of the weight. */
  boolean covers(LoraSlice slice, int row) {
    int column = column(row);
    return column >= slice.firstColumn() && column < slice.endColumn();
  }
}
