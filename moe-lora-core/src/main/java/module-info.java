/**
 * Many LoRA adapters at once inside Mixture-of-Experts layers: API, routing, backend SPI, CPU
 * backend.
 */
@SuppressWarnings("module") // io.github.moelora.tornado is compiled after this one
module io.github.moelora.core {
  requires com.fasterxml.jackson.core;
  requires org.slf4j;
  requires static jdk.incubator.vector;
  requires static jdk.jfr;
  requires static transitive org.jspecify;

  exports io.github.moelora;
  exports io.github.moelora.cache;
  exports io.github.moelora.gguf;
  exports io.github.moelora.peft;
  exports io.github.moelora.reference;
  exports io.github.moelora.safetensors;
  exports io.github.moelora.spi;
  exports io.github.moelora.json to
      io.github.moelora.tornado;

  uses io.github.moelora.spi.BackendProvider;

  provides io.github.moelora.spi.BackendProvider with
      io.github.moelora.cpu.CpuBackendProvider;
}
