package io.github.moelora.tornado.kernels;

import java.util.List;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** {@link GroupKernels} on the emulated device; EngineGroupsTest runs them on a real one. */
@Tag("emulated")
class GroupKernelsTest {

  static List<GroupCase> cases() {
    return GroupCase.all();
  }

  @ParameterizedTest
  @MethodSource("cases")
  void matchesTheReference(GroupCase each) {
    each.build(7).run(7);
  }
}
