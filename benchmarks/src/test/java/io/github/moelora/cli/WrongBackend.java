package io.github.moelora.cli;

import io.github.moelora.LoraAdapter;
import io.github.moelora.Matrix;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.ProjectionCall;
import io.github.moelora.Routing;
import io.github.moelora.cpu.CpuBackendProvider;
import io.github.moelora.spi.Availability;
import io.github.moelora.spi.Backend;
import io.github.moelora.spi.BackendProvider;
import io.github.moelora.spi.BackendStep;

/** Computes as the CPU backend does, but for the first element of each down projection. */
public final class WrongBackend implements BackendProvider {
  @Override
  public String name() {
    return "wrong";
  }

  @Override
  public Availability probe() {
    return new Availability.Usable("wrong device", -1);
  }

  @Override
  public Backend open(MoeLoraConfig config) {
    Backend cpu = new CpuBackendProvider().open(config);
    return new Backend() {
      @Override
      public String device() {
        return "wrong device";
      }

      @Override
      public PreparedAdapter prepare(int slot, LoraAdapter adapter) {
        return cpu.prepare(slot, adapter);
      }

      @Override
      public void unload(int slot) {
        cpu.unload(slot);
      }

      @Override
      public BackendStep newStep() {
        return new WrongStep(cpu.newStep());
      }

      @Override
      public void close() {
        cpu.close();
      }
    };
  }

  private record WrongStep(BackendStep step) implements BackendStep {
    @Override
    public int maxBlockSize() {
      return step.maxBlockSize();
    }

    @Override
    public int blockSize(int activePairs, int groups) {
      return step.blockSize(activePairs, groups);
    }

    @Override
    public void planned(Routing routing) {
      step.planned(routing);
    }

    @Override
    public void plannedDense(Routing routing) {
      step.plannedDense(routing);
    }

    @Override
    public void run(ProjectionCall call, Matrix x, Matrix y) {
      step.run(call, x, y);
      if (call.pairRows()) {
        y.set(0, 0, y.get(0, 0) + 1);
      }
    }

    @Override
    public void close() {
      step.close();
    }
  }
}
