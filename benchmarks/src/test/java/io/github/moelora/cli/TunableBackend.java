package io.github.moelora.cli;

import io.github.moelora.LoraAdapter;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.spi.Availability;
import io.github.moelora.spi.Backend;
import io.github.moelora.spi.BackendProvider;
import io.github.moelora.spi.Tunable;
import io.github.moelora.spi.Tuner;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Set;

/** Pretends to measure: choice a takes a microsecond per pair, choice b as much per two groups. */
public final class TunableBackend implements BackendProvider, Tunable {
  @Override
  public String name() {
    return "tunable";
  }

  @Override
  public Availability probe() {
    return new Availability.Usable("tunable device", -3);
  }

  @Override
  public Backend open(MoeLoraConfig config) {
    throw new IllegalStateException("it only measures");
  }

  @Override
  public Tuner newTuner(MoeLoraConfig config) {
    return new FakeTuner(config);
  }

  private static final class FakeTuner implements Tuner {
    private final MoeLoraConfig config;
    private final Set<Integer> loaded = new HashSet<>();

    FakeTuner(MoeLoraConfig config) {
      this.config = config;
    }

    @Override
    public String device() {
      return "tunable device";
    }

    @Override
    public String usage(Path file) {
      return "--read " + file.getFileName();
    }

    @Override
    public void load(int slot, LoraAdapter adapter) {
      adapter.requireFits(config.model());
      loaded.add(slot);
    }

    @Override
    public Measurement measure(
        int tokens,
        MemorySegment expertIds,
        MemorySegment routingWeights,
        MemorySegment adapterIds) {
      int[] experts = expertIds.toArray(ValueLayout.JAVA_INT);
      int[] adapters = adapterIds.toArray(ValueLayout.JAVA_INT);
      if (Arrays.stream(adapters).anyMatch(slot -> !loaded.contains(slot))) {
        throw new IllegalStateException("a batch must name loaded slots");
      }
      Set<List<Integer>> groups = new HashSet<>();
      for (int p = 0; p < experts.length; p++) {
        groups.add(List.of(adapters[p / config.expertsPerToken()], experts[p]));
      }
      return new Measurement(
          experts.length,
          groups.size(),
          List.of(
              new Choice("a", experts.length * 1e3, true),
              new Choice("b", groups.size() * 2e3, false)));
    }

    @Override
    public void write(Path file) throws IOException {
      Files.writeString(file, "%s, %d slots".formatted(config.model(), config.slots()));
    }

    @Override
    public void close() {
      loaded.clear();
    }
  }
}
