/** The TornadoVM backend of moe-lora: kernels, task graphs, device buffers, device probing. */
@SuppressWarnings("module") // tornado.runtime is there at run time alone
module io.github.moelora.tornado {
  requires transitive io.github.moelora.core;
  requires jdk.unsupported;
  requires org.slf4j;
  requires static jdk.jfr;
  requires static org.jspecify;
  requires transitive tornado.api;

  exports io.github.moelora.tornado;

  // it finds a task's kernel by reflection
  opens io.github.moelora.tornado.kernels to
      tornado.runtime;

  provides io.github.moelora.spi.BackendProvider with
      io.github.moelora.tornado.TornadoBackendProvider;
}
