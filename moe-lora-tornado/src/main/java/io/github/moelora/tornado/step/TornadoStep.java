package io.github.moelora.tornado.step;

import io.github.moelora.Matrix;
import io.github.moelora.ProjectionCall;
import io.github.moelora.Routing;
import io.github.moelora.spi.BackendStep;
import org.jspecify.annotations.Nullable;

/** A plan on the host; the backend takes it to the device when it runs. */
public final class TornadoStep implements BackendStep {
  private final TornadoBackend backend;
  private @Nullable Routing routing;

  TornadoStep(TornadoBackend backend) {
    this.backend = backend;
  }

  /** The backend whose step this is. */
  public TornadoBackend backend() {
    return backend;
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
    // the device memory is the backend's
  }
}
