package io.github.moelora.tornado;

import io.github.moelora.MoeLoraConfig;
import io.github.moelora.spi.Availability;
import io.github.moelora.spi.Backend;
import io.github.moelora.spi.BackendProvider;
import io.github.moelora.spi.Tunable;
import io.github.moelora.spi.Tuner;
import io.github.moelora.tornado.choice.BlockChoice;
import io.github.moelora.tornado.choice.SplitTiling;
import io.github.moelora.tornado.choice.Tuning;
import io.github.moelora.tornado.device.ChosenDevice;
import io.github.moelora.tornado.device.DeviceTraits;
import io.github.moelora.tornado.device.Devices;
import io.github.moelora.tornado.step.TornadoBackend;
import io.github.moelora.tornado.tune.TornadoTuner;
import io.github.moelora.tornado.weights.PackedWeights;
import java.util.List;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** Offers the TornadoVM backend, where the JVM runs with an SDK's flags and a device is there. */
public final class TornadoBackendProvider implements BackendProvider, Tunable {
  /** Above the CPU's 0. */
  private static final int PRIORITY = 100;

  private static final Logger LOG = LoggerFactory.getLogger(TornadoBackendProvider.class);

  private static final String BAILOUT = "tornado.recover.bailout";

  /** Called by {@link java.util.ServiceLoader}. */
  public TornadoBackendProvider() {}

  @Override
  public String name() {
    return "tornado";
  }

  @Override
  public Availability probe() {
    if (System.getProperty("tornado.load.runtime.implementation") == null) {
      return new Availability.Unusable(
          "the JVM was started without TornadoVM's flags",
          "start with scripts/tornado-run, or with the flags that `tornado --printJavaFlags`"
              + " prints");
    }
    if (!"false".equalsIgnoreCase(System.getProperty(BAILOUT))) {
      return new Availability.Unusable(
          "TornadoVM could silently run a kernel as Java",
          "start the JVM with -D" + BAILOUT + "=False");
    }
    try {
      return new Availability.Usable(DeviceTraits.describe(Devices.first()), PRIORITY);
    } catch (RuntimeException | LinkageError e) {
      return new Availability.Unusable(
          "TornadoVM finds no device (%s)".formatted(e),
          "install the driver that the SDK's backend needs; `tornado --devices` shows what it"
              + " finds");
    }
  }

  @Override
  public List<String> devices() {
    return probe() instanceof Availability.Usable
        ? Devices.all().stream().map(DeviceTraits::describe).toList()
        : List.of();
  }

  @Override
  public Backend open(MoeLoraConfig config) {
    ChosenDevice device = requireDevice(config);
    boolean packed = device.hasTensorCores() && PackedWeights.suits(config);
    if (packed && !BlockChoice.hasSplit(config)) {
      LOG.info(
          "maxRank {} is above {}: the one-shot kernel, without tensor cores, serves all batches",
          config.maxRank(),
          SplitTiling.RANK_LIMIT);
    }
    Tuning tuning = Tuning.find(config, DeviceTraits.name(device.device()), packed);
    return new TornadoBackend(config, device, tuning);
  }

  @Override
  public Tuner newTuner(MoeLoraConfig config) {
    return new TornadoTuner(config, requireDevice(config));
  }

  private ChosenDevice requireDevice(MoeLoraConfig config) {
    if (probe() instanceof Availability.Unusable unusable) {
      throw new IllegalStateException(unusable.reason() + ". " + unusable.remedy());
    }
    return ChosenDevice.of(Devices.find(config.device()));
  }
}
