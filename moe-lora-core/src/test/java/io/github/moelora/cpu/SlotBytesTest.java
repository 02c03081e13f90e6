package io.github.moelora.cpu;

import static org.assertj.core.api.Assertions.assertThat;

import io.github.moelora.DType;
import io.github.moelora.DenseModule;
import io.github.moelora.GateUp;
import io.github.moelora.LoraAdapter;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.MoeModel;
import io.github.moelora.spi.Backend;
import io.github.moelora.testkit.Problem;
import io.github.moelora.testkit.Seeds;
import java.util.List;
import java.util.Objects;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** What slots take of memory, beside the weights of the adapters in them. */
class SlotBytesTest {
  private static final int SLOTS = 8;
  private static final int RANK = 8;

  /** Eight adapters of rank 8 where 64 is the largest. */
  @ParameterizedTest
  @EnumSource(DType.class)
  void slotsCostWhatAdaptersHold(DType type) {
    MoeModel model =
        new MoeModel(256, 96, 4, GateUp.HALVES, List.of(0), List.of(new DenseModule("q", 256, 80)));
    MoeLoraConfig config = MoeLoraConfig.of(model, SLOTS, 2).withMaxRank(64).withWeightType(type);
    LoraAdapter adapter =
        new Problem(Seeds.of("slots of rank 8 " + type), model, 1, 1)
            .types(type, type, type)
            .randomAdapter(RANK, false, 1);
    @Nullable PackedAdapter[] slots = new @Nullable PackedAdapter[SLOTS];
    try (Backend backend = new CpuBackend(config, new PlainKernels(), 1, slots)) {
      for (int slot = 0; slot < SLOTS; slot++) {
        try (Backend.PreparedAdapter prepared = backend.prepare(slot, adapter)) {
          prepared.commit();
        }
      }
      long taken = 0;
      for (PackedAdapter slot : slots) {
        taken += Objects.requireNonNull(slot).bytes();
      }
      // gate and up with an A each
      long expert = 2 * (256 + 96) + 96 + 256;
      long elements = 4 * expert + (adapter.slices("q").isEmpty() ? 0 : 256 + 80);
      long held = (long) SLOTS * RANK * type.bytes() * elements;
      assertThat(taken / (double) held).isBetween(1.0, 1.15);
    }
  }
}
