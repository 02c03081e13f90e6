package io.github.moelora.tornado.step;

import io.github.moelora.Matrix;
import io.github.moelora.ProjectionCall;
import io.github.moelora.Routing;
import io.github.moelora.spi.BackendStep;
import io.github.moelora.spi.BlockRule;
import org.jspecify.annotations.Nullable;

/** A plan on the host; the backend takes it to the device when it runs. */
public final class TornadoStep implements BackendStep {
  private final TornadoBackend backend;
  private final BlockRule denseRule = new DenseRule();
  private long slotVersion;
  private @Nullable Routing expertPlan;
  private @Nullable Routing densePlan;

  TornadoStep(TornadoBackend backend) {
    this.backend = backend;
  }

  /** The backend whose step this is. */
  public TornadoBackend backend() {
    return backend;
  }

  /** The slots as the last plan found them: see {@link SlotStore#version}. */
  public long slotVersion() {
    return slotVersion;
  }

  @Override
  public int maxBlockSize() {
    return backend.choice().maxBlockSize();
  }

  @Override
  public int blockSize(int activePairs, int groups) {
    return backend.blockSize(activePairs, groups);
  }

  @Override
  public BlockRule denseRule() {
    return denseRule;
  }

  @Override
  public void planned(Routing plan) {
    expertPlan = plan;
    slotVersion = backend.slotVersion();
  }

  @Override
  public void plannedDense(Routing plan) {
    densePlan = plan;
    slotVersion = backend.slotVersion();
  }

  @Override
  public void run(ProjectionCall call, Matrix x, Matrix y) {
    Routing plan = call.isDense() ? densePlan : expertPlan;
    if (plan == null) {
      throw new IllegalStateException("plan must be called before run");
    }
    backend.run(plan, call, x, y);
  }

  private final class DenseRule implements BlockRule {
    @Override
    public int maxBlockSize() {
      return backend.denseChoice().maxBlockSize();
    }

    @Override
    public int blockSize(int activePairs, int groups) {
      return backend.blockSize(backend.denseChoice(), activePairs, groups);
    }
  }

  @Override
  public void close() {
    // the device memory is the backend's
  }
}
