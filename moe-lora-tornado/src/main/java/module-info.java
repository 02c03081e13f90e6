/** The TornadoVM backend of moe-lora: kernels, task graphs, device buffers, device probing. */
module io.github.moelora.tornado {
  requires transitive io.github.moelora.core;
  requires com.fasterxml.jackson.core;
  requires jdk.unsupported;
  requires org.slf4j;
  requires static org.jspecify;
  requires transitive tornado.api;

  exports io.github.moelora.tornado;

  provides io.github.moelora.spi.BackendProvider with
      io.github.moelora.tornado.TornadoBackendProvider;
}
