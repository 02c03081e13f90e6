package io.github.moelora;

import io.github.moelora.spi.Availability;
import io.github.moelora.spi.Backend;
import io.github.moelora.spi.BackendProvider;
import io.github.moelora.spi.BackendStep;
import java.lang.foreign.Arena;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * Provider of a backend that computes nothing, writes down what it is asked and fails on demand.
 */
final class FakeBackend implements BackendProvider {
  /** What was called, in order. */
  final List<String> calls = new ArrayList<>();

  /** Name of the call that fails, if any. */
  @Nullable String failing;

  Availability availability = new Availability.Usable("nowhere", 1);
  private final String name;
  private int bufferTokens = Integer.MAX_VALUE;

  FakeBackend(String name) {
    this.name = name;
  }

  FakeBackend availability(Availability newAvailability) {
    availability = newAvailability;
    return this;
  }

  /** Lets steps have buffers for fewer tokens than the configuration says. */
  void limitBuffers(int tokens) {
    bufferTokens = tokens;
  }

  private void call(String what) {
    calls.add(what);
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
        int tokens = Math.min(bufferTokens, config.maxTokens());
        return new FakeStep(
            Routing.Buffers.allocate(Arena.ofAuto(), config.withMaxTokens(tokens), 4));
      }

      @Override
      public void close() {
        call("close backend");
      }
    };
  }

  private final class FakeStep implements BackendStep {
    private final Routing.Buffers buffers;

    FakeStep(Routing.Buffers buffers) {
      this.buffers = buffers;
    }

    @Override
    public Routing.Buffers buffers() {
      return buffers;
    }

    @Override
    public int maxBlockSize() {
      return 4;
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
    public void run(ProjectionCall call, Matrix x, Matrix y) {
      call("run");
    }

    @Override
    public void close() {
      call("close step");
    }
  }
}
