package io.github.moelora.tornado.step;

import io.github.moelora.spi.BackendProvider;
import io.github.moelora.testkit.BackendContractTest;
import io.github.moelora.tornado.TestDevice;
import io.github.moelora.tornado.TornadoBackendProvider;
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
