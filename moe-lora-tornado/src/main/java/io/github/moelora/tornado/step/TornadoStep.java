package io.github.moelora.tornado.step;

import io.github.moelora.Matrix;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.ProjectionCall;
import io.github.moelora.Routing;
import io.github.moelora.spi.BackendStep;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import org.jspecify.annotations.Nullable;

/** A plan on the host; the backend takes it to the device when it runs. */
public final class TornadoStep implements BackendStep {
  private final TornadoBackend backend;
  private final Arena arena = Arena.ofShared();
  private final Routing.Buffers buffers;
  private @Nullable Routing routing;

  TornadoStep(TornadoBackend backend, MoeLoraConfig config) {
    this.backend = backend;
    int pairs = config.maxPairs();
    buffers =
        new Routing.Buffers(
            ints(Routing.sortedCapacity(config, backend.maxBlockSize())),
            ints(pairs),
            ints(pairs),
            ints(Routing.COUNTS),
            ints(pairs));
  }

  /** The backend whose step this is. */
  public TornadoBackend backend() {
    return backend;
  }

  private MemorySegment ints(int count) {
    return arena.allocate(ValueLayout.JAVA_INT, count);
  }

  @Override
  public Routing.Buffers buffers() {
    return buffers;
  }

  @Override
  public int maxBlockSize() {
    return backend.maxBlockSize();
  }

  @Override
  public int blockSize(int activePairs, int groups) {
    return backend.blockSize(activePairs, groups);
  }

  @Override
  public void planned(Routing plan) {
    routing = plan;
  }

  private Routing requirePlan() {
    if (routing == null) {
      throw new IllegalStateException("plan must be called before run");
    }
    return routing;
  }

  @Override
  public void run(ProjectionCall call, Matrix x, Matrix y) {
    backend.run(requirePlan(), call, x, y);
  }

  @Override
  public void close() {
    arena.close();
  }
}
