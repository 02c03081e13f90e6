package io.github.moelora.tornado.device;

import static org.assertj.core.api.Assertions.assertThat;

import org.junit.jupiter.api.Tag;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import uk.ac.manchester.tornado.api.enums.TornadoVMBackendType;

@Tag("no-device")
class DeviceTraitsTest {
  @ParameterizedTest
  @CsvSource({
    "CUDA, tensor cores, ''",
    "PTX, portable kernels, no bfloat16 mma",
    "OPENCL, portable kernels, TornadoVM's CUDA backend has them"
  })
  void saysWhichKernelsRunAndWhy(TornadoVMBackendType backend, String kernels, String why) {
    assertThat(DeviceTraits.kernels(backend)).startsWith(kernels).contains(why);
  }
}
