package io.github.moelora.cli.golden;

import io.github.moelora.GateUp;
import io.github.moelora.Matrix;
import io.github.moelora.MoeModel;
import io.github.moelora.Projection;

/** The base model's routed experts in float64, from the weights in a golden file. */
final class BaseExperts {
  private final MoeModel model;
  private final Matrix gateUpWeights;
  private final Matrix downWeights;
  private final GoldenTensors tensors;
  private final String prefix;
  private final double limit;

  /**
   * Opens the weights of one layer.
   *
   * @param limit where an interleaved model cuts gate and up
   */
  BaseExperts(GoldenTensors tensors, MoeModel model, int layer, double limit) {
    this.model = model;
    this.limit = limit;
    this.tensors = tensors;
    this.prefix = "layers.%d.mlp.experts.".formatted(layer);
    gateUpWeights = tensors.matrix(prefix + "gate_up_proj");
    downWeights = tensors.matrix(prefix + "down_proj");
  }

  private boolean interleaved() {
    return model.gateUp() == GateUp.INTERLEAVED;
  }

  /** Element (out, in) of an expert's weight; interleaved models store the transposed one. */
  private double weight(Matrix weights, int expert, int out, int in, Projection projection) {
    int rows = interleaved() ? model.inputWidth(projection) : model.outputWidth(projection);
    return interleaved()
        ? weights.get(expert * rows + in, out)
        : weights.get(expert * rows + out, in);
  }

  private double bias(String name, int expert, int out) {
    return interleaved() ? tensors.matrix(prefix + name).get(expert, out) : 0;
  }

  /** Writes the activation that enters the down projection. */
  void activation(int expert, Matrix x, int row, Matrix delta, Matrix out, int pair) {
    int width = model.intermediateSize();
    for (int i = 0; i < width; i++) {
      double gate = gateUp(expert, x, row, delta, pair, interleaved() ? 2 * i : i);
      double up = gateUp(expert, x, row, delta, pair, interleaved() ? 2 * i + 1 : width + i);
      double value;
      if (interleaved()) {
        // gpt-oss: gate cut from above, up on both sides
        double cutGate = Math.min(gate, limit);
        value = (Math.clamp(up, -limit, limit) + 1) * cutGate / (1 + Math.exp(-1.702 * cutGate));
      } else {
        value = gate / (1 + Math.exp(-gate)) * up;
      }
      out.set(pair, i, (float) value);
    }
  }

  private double gateUp(int expert, Matrix x, int row, Matrix delta, int pair, int column) {
    double sum = bias("gate_up_proj_bias", expert, column) + delta.get(pair, column);
    for (int h = 0; h < model.hiddenSize(); h++) {
      sum += weight(gateUpWeights, expert, column, h, Projection.GATE_UP) * x.get(row, h);
    }
    return sum;
  }

  /** One element of the down projection without delta. */
  double down(int expert, Matrix activation, int pair, int column) {
    double sum = bias("down_proj_bias", expert, column);
    for (int i = 0; i < model.intermediateSize(); i++) {
      sum += weight(downWeights, expert, column, i, Projection.DOWN) * activation.get(pair, i);
    }
    return sum;
  }
}
