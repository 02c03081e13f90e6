package io.github.moelora;

import io.github.moelora.spi.Availability;
import io.github.moelora.spi.BackendProvider;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Objects;
import java.util.ServiceLoader;
import java.util.function.Predicate;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** The backends on the class or module path. */
public final class Backends {
  private static final Logger LOG = LoggerFactory.getLogger(Backends.class);

  private Backends() {}

  /** All backends, usable or not, by name. */
  public static List<BackendProvider> all() {
    List<BackendProvider> providers = new ArrayList<>();
    ServiceLoader.load(BackendProvider.class, Backends.class.getClassLoader())
        .forEach(providers::add);
    providers.sort(Comparator.comparing(BackendProvider::name));
    return List.copyOf(providers);
  }

  /** The usable backend of highest priority; a warning tells why others were passed over. */
  static BackendProvider best() {
    return best(all(), _ -> true);
  }

  /**
   * The usable backend of highest priority among those that suit.
   *
   * @throws IllegalStateException if none of them is usable; the message says why
   */
  public static BackendProvider best(Predicate<BackendProvider> suits) {
    return best(all(), suits);
  }

  static BackendProvider best(List<BackendProvider> providers, Predicate<BackendProvider> suits) {
    BackendProvider best = null;
    int bestPriority = 0;
    List<String> reasons = new ArrayList<>();
    List<String> passedOver = new ArrayList<>();
    for (BackendProvider provider : providers) {
      switch (provider.probe()) {
        case Availability.Usable _ when !suits.test(provider) ->
            reasons.add(provider.name() + ": does not suit");
        case Availability.Usable usable -> {
          if (best == null || usable.priority() > bestPriority) {
            best = provider;
            bestPriority = usable.priority();
          }
        }
        case Availability.Unusable unusable -> {
          reasons.add(provider.name() + ": " + unusable.reason());
          passedOver.add(reasons.getLast() + ". " + unusable.remedy());
        }
      }
    }
    if (best == null) {
      throw new IllegalStateException("no backend is usable: " + String.join("; ", reasons));
    }
    for (String other : passedOver) {
      LOG.warn("backend {} is used, not {}", best.name(), other);
    }
    return best;
  }

  /**
   * The backend of that name, usable or not.
   *
   * @throws IllegalArgumentException if there is none
   */
  public static BackendProvider named(String name) {
    Objects.requireNonNull(name, "backend must not be null");
    List<BackendProvider> providers = all();
    for (BackendProvider provider : providers) {
      if (provider.name().equals(name)) {
        return provider;
      }
    }
    throw new IllegalArgumentException(
        "backend must be one of %s, got %s"
            .formatted(providers.stream().map(BackendProvider::name).toList(), name));
  }

  static void requireUsable(BackendProvider provider) {
    if (provider.probe() instanceof Availability.Unusable unusable) {
      throw new IllegalStateException(
          "backend %s cannot run: %s. %s"
              .formatted(provider.name(), unusable.reason(), unusable.remedy()));
    }
  }
}
