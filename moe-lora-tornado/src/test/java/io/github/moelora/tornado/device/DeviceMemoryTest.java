package io.github.moelora.tornado.device;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalStateException;
import static org.assertj.core.api.Assertions.assertThatNoException;

import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** What is refused for want of memory, and what the message tells. */
@Tag("no-device")
class DeviceMemoryTest {
  private static final DeviceMemory.Limits TORNADO_HAS_LESS =
      new DeviceMemory.Limits("gpu", 1000, 300, 250);
  private static final DeviceMemory.Limits DEVICE_HAS_LESS =
      new DeviceMemory.Limits("gpu", 300, 1000, 250);

  @Test
  void takesWhatIsLeft() {
    assertThatNoException()
        .isThrownBy(
            () -> DeviceMemory.require(new DeviceMemory.Need(200, 200), TORNADO_HAS_LESS, 100));
  }

  @Test
  void saysWhatTornadoVmAllows() {
    assertThatIllegalStateException()
        .isThrownBy(
            () -> DeviceMemory.require(new DeviceMemory.Need(201, 1), TORNADO_HAS_LESS, 100))
        .withMessage(
            "the instance needs 201 bytes on gpu, and 200 of the 300 that tornado.device.memory"
                + " allows are left; start the JVM with a larger -Dtornado.device.memory, below the"
                + " device's 1000 bytes, or open the instance with fewer slots, a smaller"
                + " MoeLoraConfig.withPool or a smaller maxRank");
  }

  @Test
  void saysWhatTheDeviceHas() {
    assertThatIllegalStateException()
        .isThrownBy(() -> DeviceMemory.require(new DeviceMemory.Need(301, 1), DEVICE_HAS_LESS, 0))
        .withMessage(
            "the instance needs 301 bytes on gpu, and 300 of the 300 that it has are left; open the"
                + " instance with fewer slots, a smaller MoeLoraConfig.withPool or a smaller"
                + " maxRank");
  }

  @Test
  void saysHowLargeAnArrayMayBe() {
    assertThatIllegalStateException()
        .isThrownBy(() -> DeviceMemory.require(new DeviceMemory.Need(260, 250), DEVICE_HAS_LESS, 0))
        .withMessageContaining("an array of 250 bytes on gpu, which takes arrays of less than 250");
  }

  @ParameterizedTest
  @CsvSource({
    "4GB, 4294967296",
    "24MB, 25165824",
    "3KB, 3072",
    "12345, 12345",
    "1TB, 1099511627776"
  })
  void readsSizesAsTornadoVmDoes(String size, long bytes) {
    assertThat(DeviceMemory.parse(size)).isEqualTo(bytes);
  }

  @ParameterizedTest
  @ValueSource(strings = {"", "GB", "4G", "1e9", "9999999999EB"})
  void refusesWhatIsNoSize(String size) {
    assertThatIllegalStateException()
        .isThrownBy(() -> DeviceMemory.parse(size))
        .withMessage("-Dtornado.device.memory must be a size such as 24GB, got " + size);
  }
}
