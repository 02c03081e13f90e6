package io.github.moelora;

import io.github.moelora.spi.Availability;
import io.github.moelora.spi.Backend;
import io.github.moelora.spi.BackendProvider;
import io.github.moelora.spi.BackendStep;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * Provider of a backend that computes nothing, writes down what it is asked and fails on demand.
 */
final class FakeBackend implements BackendProvider {
  /** What was called, in order. */
  final List<String> calls = Collections.synchronizedList(new ArrayList<>());

  /** Name of the call that fails, if any. */
  @Nullable String failing;

  Availability availability = new Availability.Usable("nowhere", 1);

  /** Done in the middle of a run. */
  Runnable running = () -> {};

  /** Whether calls are no longer written down, which would allocate. */
  boolean quiet;

  /** What {@link Backend#changesBesideRuns} says. */
  boolean changesBesideRuns;

  private final String name;
  private int maxBlockSize = 4;

  FakeBackend(String name) {
    this.name = name;
  }

  FakeBackend availability(Availability newAvailability) {
    availability = newAvailability;
    return this;
  }

  /** Lets steps ask for blocks of up to so many rows. */
  void maxBlockSize(int rows) {
    maxBlockSize = rows;
  }

  private void call(String what) {
    if (!quiet) {
      calls.add(what);
    }
    if (what.equals(failing)) {
      throw new IllegalStateException(what + " fails");
    }
  }

  @Override
  public String name() {
    return name;
  }

  @Override
  public Availability probe() {
    return availability;
  }

  @Override
  public Backend open(MoeLoraConfig config) {
    return new Backend() {
      @Override
      public String device() {
        return "a fake device";
      }

      @Override
      public boolean changesBesideRuns() {
        return changesBesideRuns;
      }

      @Override
      public PreparedAdapter prepare(int slot, LoraAdapter adapter) {
        call("prepare " + slot);
        return new PreparedAdapter() {
          @Override
          public void commit() {
            call("commit " + slot);
          }

          @Override
          public void close() {
            call("close prepared " + slot);
          }
        };
      }

      @Override
      public void unload(int slot) {
        call("unload " + slot);
      }

      @Override
      public BackendStep newStep() {
        call("new step");
        return new FakeStep();
      }

      @Override
      public void close() {
        call("close backend");
      }
    };
  }

  private final class FakeStep implements BackendStep {
    @Override
    public int maxBlockSize() {
      return maxBlockSize;
    }

    @Override
    public int blockSize(int activePairs, int groups) {
      return 4;
    }

    @Override
    public void planned(Routing routing) {
      call("planned");
    }

    @Override
    public void plannedDense(Routing routing) {
      call("planned dense");
    }

    @Override
    public void run(ProjectionCall call, Matrix x, Matrix y) {
      call("run");
      running.run();
    }

    @Override
    public void close() {
      call("close step");
    }
  }
}
