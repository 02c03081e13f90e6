package io.github.moelora.tornado;

import io.github.moelora.spi.BackendProvider;
import io.github.moelora.testkit.BackendContractTest;
import org.junit.jupiter.api.BeforeAll;

/** The contract of backends on the TornadoVM device. */
class TornadoBackendTest extends BackendContractTest {

  @BeforeAll
  static void requireDevice() {
    TestDevice.require();
  }

  @Override
  protected BackendProvider provider() {
    return new TornadoBackendProvider();
  }
}
