package io.github.moelora.cpu;

import io.github.moelora.MoeLoraConfig;
import io.github.moelora.spi.Availability;
import io.github.moelora.spi.Backend;
import io.github.moelora.spi.BackendProvider;
import io.github.moelora.testkit.BackendContractTest;
import io.github.moelora.testkit.GoldenFamiliesContractTest;
import io.github.moelora.testkit.VllmGoldenContractTest;
import org.junit.jupiter.api.Nested;

/** The contract of backends on both kinds of kernels and on one and several threads. */
final class CpuBackendTest {

  /** The CPU backend with kernels and threads of the test's choice. */
  record FixedProvider(Kernels kernels, int threads) implements BackendProvider {
    @Override
    public String name() {
      return "cpu";
    }

    @Override
    public Availability probe() {
      return new Availability.Usable(kernels.description(), 0);
    }

    @Override
    public Backend open(MoeLoraConfig config) {
      return new CpuBackend(config, kernels, threads);
    }
  }

  @Nested
  class AsProvided extends BackendContractTest {
    @Override
    protected BackendProvider provider() {
      return new CpuBackendProvider();
    }
  }

  @Nested
  class VectorApiOnThreeThreads extends BackendContractTest {
    @Override
    protected BackendProvider provider() {
      return new FixedProvider(new VectorKernels(), 3);
    }
  }

  @Nested
  class PlainJavaOnThreeThreads extends BackendContractTest {
    @Override
    protected BackendProvider provider() {
      return new FixedProvider(new PlainKernels(), 3);
    }
  }

  @Nested
  class PlainJavaOnOneThread extends BackendContractTest {
    @Override
    protected BackendProvider provider() {
      return new FixedProvider(new PlainKernels(), 1);
    }
  }

  @Nested
  class GoldenOnVectorApi extends VllmGoldenContractTest {
    @Override
    protected BackendProvider provider() {
      return new FixedProvider(new VectorKernels(), 2);
    }
  }

  @Nested
  class GoldenOnPlainJava extends VllmGoldenContractTest {
    @Override
    protected BackendProvider provider() {
      return new FixedProvider(new PlainKernels(), 2);
    }
  }

  @Nested
  class FamiliesOnVectorApi extends GoldenFamiliesContractTest {
    @Override
    protected BackendProvider provider() {
      return new FixedProvider(new VectorKernels(), 2);
    }
  }

  @Nested
  class FamiliesOnPlainJava extends GoldenFamiliesContractTest {
    @Override
    protected BackendProvider provider() {
      return new FixedProvider(new PlainKernels(), 2);
    }
  }
}
