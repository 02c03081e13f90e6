package io.github.moelora.tornado.kernels;

import java.util.List;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * {@link WidePairs} on the emulated device, in those cases of {@link PairKernels} that they can do;
 * EngineRoutingTest runs those for float32 weights on a real one.
 */
@Tag("emulated")
class WidePairsTest {

  static List<PairCase> cases() {
    return PairCase.all().stream().filter(each -> each.build(7).isWide()).toList();
  }

  @ParameterizedTest
  @MethodSource("cases")
  void matchesTheReference(PairCase each) {
    each.build(11).runWide(11);
  }
}
