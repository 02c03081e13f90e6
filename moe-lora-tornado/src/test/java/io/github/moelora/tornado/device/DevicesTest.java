package io.github.moelora.tornado.device;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;

import java.util.List;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Which device an index or a name means. */
@Tag("no-device")
class DevicesTest {
  private static final List<String> NAMES =
      List.of("NVIDIA H200, CUDA", "NVIDIA H200, CUDA", "NVIDIA H200, OPENCL", "pthread, OPENCL");

  @ParameterizedTest
  @CsvSource({"0, 0", "3, 3", "pthread, 3", "'h200, open', 2", "PTHREAD, 3"})
  void finds(String wanted, int index) {
    assertThat(Devices.index(wanted, NAMES)).isEqualTo(index);
  }

  @ParameterizedTest
  @CsvSource({
    "4, 'device must be in [0, 4), got 4; there are 0: NVIDIA H200, CUDA; 1: '",
    "99999999999, 'device must be in [0, 4), got 99999999999; '",
    "H200, 'device must name one device, got \"H200\", which several have; there are 0: '",
    "A100, 'device must name one device, got \"A100\", which none has; there are 0: '",
    "-1, 'device must name one device, got \"-1\", which none has; '"
  })
  void refuses(String wanted, String message) {
    assertThatIllegalArgumentException()
        .isThrownBy(() -> Devices.index(wanted, NAMES))
        .withMessageStartingWith(message);
  }
}
