package io.github.moelora.bench.gpu;

import io.github.moelora.DType;
import io.github.moelora.Matrix;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.MoeModel;
import io.github.moelora.Projection;
import io.github.moelora.tornado.EngineRouting;
import io.github.moelora.tornado.weights.PackedWeights;
import io.github.moelora.workload.Batch;
import java.lang.foreign.MemorySegment;
import uk.ac.manchester.tornado.api.TaskGraph;
import uk.ac.manchester.tornado.api.enums.DataTransferMode;
import uk.ac.manchester.tornado.api.types.arrays.FloatArray;
import uk.ac.manchester.tornado.api.types.arrays.HalfFloatArray;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;
import uk.ac.manchester.tornado.api.types.arrays.TornadoNativeArray;

/**
 * What an engine's graphs of one size have on the device, just as large as they need: a batch of
 * few tokens brings little with it.
 *
 * @param x of gate/up
 * @param gateUp its result
 * @param active x of down; with variants the activation of gate/up
 * @param down its result, {@code [P, H]}, or {@code [T, H]} with variants
 * @param routing of a batch
 * @param flag for a task to touch
 * @param variants whether gate/up comes with the activation, and down is combined
 */
record LayerArrays(
    HalfFloatArray x,
    TornadoNativeArray gateUp,
    HalfFloatArray active,
    TornadoNativeArray down,
    EngineRouting routing,
    IntArray flag,
    boolean variants) {

  /**
   * Arrays for so many tokens.
   *
   * @param pool random numbers that x and active are windows of
   */
  static LayerArrays of(MoeLoraConfig config, int maxTokens, Matrix pool, boolean variants) {
    MoeModel model = config.model();
    DType type = pool.type();
    int pairs = Math.multiplyExact(maxTokens, config.expertsPerToken());
    LayerArrays arrays =
        new LayerArrays(
            new HalfFloatArray(Math.multiplyExact(maxTokens, model.hiddenSize())),
            words(type, pairs, model.outputWidth(Projection.GATE_UP)),
            new HalfFloatArray(Math.multiplyExact(pairs, model.intermediateSize())),
            words(type, variants ? maxTokens : pairs, model.hiddenSize()),
            new EngineRouting(new IntArray(pairs), new FloatArray(pairs)),
            new IntArray(16),
            variants);
    arrays.routing().expertIds().init(0);
    arrays.routing().routingWeights().init(0);
    arrays.flag().init(0);
    fill(arrays.x(), pool);
    fill(arrays.active(), pool);
    return arrays;
  }

  private static TornadoNativeArray words(DType type, int rows, int width) {
    return PackedWeights.words(type, Math.multiplyExact(rows, width));
  }

  private static void fill(HalfFloatArray array, Matrix pool) {
    long bytes = (long) array.getSize() * Short.BYTES;
    for (long at = 0; at < bytes; at += pool.data().byteSize()) {
      long count = Math.min(bytes - at, pool.data().byteSize());
      MemorySegment.copy(pool.data(), 0, array.getSegment(), at, count);
    }
  }

  /** All of them, for transfers. */
  Object[] all() {
    return new Object[] {
      x, gateUp, active, down, routing.expertIds(), routing.routingWeights(), flag
    };
  }

  /** A graph that brings them to the device. */
  TaskGraph load(String name) {
    return new TaskGraph(name)
        .transferToDevice(DataTransferMode.EVERY_EXECUTION, all())
        .task("touch", BenchCopy::touch, flag)
        .persistOnDevice(all());
  }

  /** Results of a graph, for transfers. */
  Object[] results() {
    return variants ? new Object[] {gateUp, down, active} : new Object[] {gateUp, down};
  }

  /** Takes in a batch's routing, and zeros for results. */
  void write(Batch batch) {
    for (int p = 0; p < batch.pairs(); p++) {
      routing.expertIds().set(p, batch.expertIds()[p]);
      routing.routingWeights().set(p, batch.routingWeights()[p]);
    }
    gateUp.getSegment().fill((byte) 0);
    down.getSegment().fill((byte) 0);
  }
}
