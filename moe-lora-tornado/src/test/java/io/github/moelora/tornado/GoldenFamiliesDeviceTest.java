package io.github.moelora.tornado;

import io.github.moelora.spi.BackendProvider;
import io.github.moelora.testkit.GoldenFamiliesContractTest;
import org.junit.jupiter.api.BeforeAll;

/** Whole adapters of several families on the TornadoVM device. */
class GoldenFamiliesDeviceTest extends GoldenFamiliesContractTest {

  @BeforeAll
  static void requireDevice() {
    TestDevice.require();
  }

  @Override
  protected BackendProvider provider() {
    return new TornadoBackendProvider();
  }
}
