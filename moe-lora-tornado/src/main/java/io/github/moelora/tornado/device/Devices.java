package io.github.moelora.tornado.device;

import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;
import uk.ac.manchester.tornado.api.TornadoBackend;
import uk.ac.manchester.tornado.api.TornadoExecutionPlan;
import uk.ac.manchester.tornado.api.TornadoRuntime;
import uk.ac.manchester.tornado.api.common.TornadoDevice;
import uk.ac.manchester.tornado.api.runtime.TornadoRuntimeProvider;

/** The devices of all TornadoVM backends of the SDK, TornadoVM's default first. */
public final class Devices {
  private Devices() {}

  /** All devices, in the order of their indices. */
  public static List<TornadoDevice> all() {
    TornadoRuntime runtime = TornadoRuntimeProvider.getTornadoRuntime();
    List<TornadoDevice> devices = new ArrayList<>();
    for (int i = 0; i < runtime.getNumBackends(); i++) {
      TornadoBackend backend = runtime.getBackend(i);
      for (int j = 0; j < backend.getNumDevices(); j++) {
        devices.add(TornadoExecutionPlan.getDevice(i, j));
      }
    }
    return devices;
  }

  /** The one that task graphs use unless told otherwise. */
  public static TornadoDevice first() {
    return TornadoExecutionPlan.getDevice(0, 0);
  }

  /**
   * The device of an index or a name.
   *
   * @param wanted digits are an index; else a part of {@link DeviceTraits#name}, in any case, that
   *     one device alone has; null for the first
   * @throws IllegalArgumentException if there is none, or more than one has the name
   */
  public static TornadoDevice find(@Nullable String wanted) {
    return wanted == null ? first() : all().get(index(wanted, names()));
  }

  /** Names of all devices, by index. */
  public static List<String> names() {
    return all().stream().map(DeviceTraits::name).toList();
  }

  static int index(String wanted, List<String> names) {
    if (wanted.matches("[0-9]+")) {
      // more digits than an int has are no index either
      int index = wanted.length() < 10 ? Integer.parseInt(wanted) : Integer.MAX_VALUE;
      if (index >= names.size()) {
        throw new IllegalArgumentException(
            "device must be in [0, %d), got %s; there are %s"
                .formatted(names.size(), wanted, listed(names)));
      }
      return index;
    }
    String part = wanted.toLowerCase(Locale.ROOT);
    int[] found =
        IntStream.range(0, names.size())
            .filter(i -> names.get(i).toLowerCase(Locale.ROOT).contains(part))
            .toArray();
    if (found.length != 1) {
      throw new IllegalArgumentException(
          "device must name one device, got \"%s\", which %s; there are %s"
              .formatted(wanted, found.length == 0 ? "none has" : "several have", listed(names)));
    }
    return found[0];
  }

  private static String listed(List<String> names) {
    return IntStream.range(0, names.size())
        .mapToObj(i -> i + ": " + names.get(i))
        .collect(Collectors.joining("; "));
  }
}
