package io.github.moelora.tornado.step;

import static org.assertj.core.api.Assertions.assertThat;

import io.github.moelora.AdapterPool;
import io.github.moelora.DType;
import io.github.moelora.DenseModule;
import io.github.moelora.GateUp;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.MoeModel;
import io.github.moelora.tornado.layout.DeviceBytes;
import io.github.moelora.tornado.weights.FloatWeights;
import io.github.moelora.tornado.weights.PackedWeights;
import io.github.moelora.tornado.weights.WeightSite;
import java.util.List;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import uk.ac.manchester.tornado.api.types.arrays.FloatArray;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;
import uk.ac.manchester.tornado.api.types.arrays.LongArray;
import uk.ac.manchester.tornado.api.types.arrays.TornadoNativeArray;

/** What pools take on the device, beside the weights of the adapters in them. */
@Tag("no-device")
class PoolBytesTest {
  private static final MoeModel MODEL =
      new MoeModel(
          32, 20, 3, GateUp.HALVES, List.of(0), List.of(new DenseModule("attention.q", 32, 24)));

  /** Eight adapters of rank 8 where 64 is the largest. */
  @Test
  void poolsCostWhatAdaptersHold() {
    MoeModel model =
        new MoeModel(
            1024, 384, 16, GateUp.HALVES, List.of(0), List.of(new DenseModule("q", 1024, 2048)));
    for (DType type : List.of(DType.F32, DType.BF16)) {
      for (int slices = 1; slices <= 2; slices++) {
        MoeLoraConfig config =
            MoeLoraConfig.of(model, 8, 4)
                .withMaxRank(64)
                .withWeightType(type)
                .withPool(new AdapterPool(64, slices));
        long held =
            8L * 8 * type.bytes() * (16L * (slices * 1024 + 2 * 384 + 384 + 1024) + 1024 + 2048);
        assertThat(bytes(config) / (double) held)
            .as("%s, %d slices", type, slices)
            .isBetween(1.0, 1.15);
        MoeLoraConfig whole = MoeLoraConfig.of(model, 8, 4).withMaxRank(64).withWeightType(type);
        assertThat(bytes(whole)).isGreaterThan(7 * held);
      }
    }
  }

  private static long bytes(MoeLoraConfig config) {
    DeviceBytes sum = DeviceBytes.NONE;
    for (WeightSite site : TornadoBackend.sites(config)) {
      sum =
          sum.plus(
              config.weightType() == DType.F32
                  ? FloatWeights.bytes(site)
                  : PackedWeights.bytes(site));
    }
    return sum.total();
  }

  /** What is told is what the arrays have. */
  @ParameterizedTest
  @EnumSource(
      value = DType.class,
      names = {"F32", "F16"})
  void bytesToldAreBytesHeld(DType type) {
    MoeLoraConfig config = MoeLoraConfig.of(MODEL, 3, 2).withMaxRank(16).withWeightType(type);
    for (WeightSite site : TornadoBackend.sites(config)) {
      DeviceBytes float32 = bytesOf(new FloatWeights(site));
      assertThat(FloatWeights.bytes(site)).isEqualTo(float32);
      if (type != DType.F32) {
        assertThat(PackedWeights.bytes(site)).isEqualTo(bytesOf(new PackedWeights(site)));
      }
    }
  }

  private static DeviceBytes bytesOf(FloatWeights weights) {
    return DeviceBytes.of(weights.resident())
        .plus(DeviceBytes.of(weights.staging(), weights.range(), weights.moves()))
        .plus(ofNothing(new FloatArray(1), 1));
  }

  private static DeviceBytes bytesOf(PackedWeights weights) {
    return DeviceBytes.of(weights.resident())
        .plus(
            DeviceBytes.of(
                weights.stagingA(), weights.stagingB(), weights.range(), weights.moves()))
        .plus(ofNothing(new LongArray(1), 2));
  }

  /** The range of no elements that gives pools their room, and what it is taken from. */
  private static DeviceBytes ofNothing(TornadoNativeArray from, int pools) {
    return DeviceBytes.of(from, new IntArray(2 * pools));
  }
}
