package io.github.moelora.tornado;

import io.github.moelora.spi.BackendProvider;
import io.github.moelora.testkit.VllmGoldenContractTest;
import org.junit.jupiter.api.BeforeAll;

/** vLLM's golden calls on the TornadoVM device. */
class VllmGoldenTest extends VllmGoldenContractTest {

  @BeforeAll
  static void requireDevice() {
    TestDevice.require();
  }

  @Override
  protected BackendProvider provider() {
    return new TornadoBackendProvider();
  }
}
