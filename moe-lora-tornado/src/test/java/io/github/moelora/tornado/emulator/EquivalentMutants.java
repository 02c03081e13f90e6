package io.github.moelora.tornado.emulator;

import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.stream.Collectors;

/**
 * Mutants that no test can kill, because they change no result. A resource lists their {@linkplain
 * Mutant#key keys} below the reason, which is a line after {@code #}.
 */
public final class EquivalentMutants {
  private static final String RESOURCE = "equivalent-mutants.txt";

  private final Map<String, String> reasons = new LinkedHashMap<>();

  private EquivalentMutants() {}

  public static EquivalentMutants read() throws IOException {
    EquivalentMutants mutants = new EquivalentMutants();
    try (InputStream in = EquivalentMutants.class.getResourceAsStream(RESOURCE)) {
      if (in == null) {
        throw new IOException("no resource " + RESOURCE);
      }
      mutants.addAll(new String(in.readAllBytes(), StandardCharsets.UTF_8).lines().toList());
    }
    return mutants;
  }

  private void addAll(List<String> lines) {
    String reason = "";
    for (String line : lines) {
      if (line.startsWith("#")) {
        reason = line.substring(1).strip();
      } else if (!line.isBlank()) {
        if (reason.isEmpty()) {
          throw new IllegalArgumentException("reason must come before: " + line);
        }
        if (reasons.put(line.strip(), reason) != null) {
          throw new IllegalArgumentException("mutant must be listed once: " + line);
        }
      }
    }
  }

  public boolean contains(Mutant mutant) {
    return reasons.containsKey(mutant.key());
  }

  /** Entries that are no mutants of the classes. */
  public List<String> unknown(List<MutantClass> originals) {
    Set<String> keys =
        originals.stream()
            .flatMap(original -> original.mutants().stream())
            .map(Mutant::key)
            .collect(Collectors.toSet());
    return reasons.keySet().stream().filter(key -> !keys.contains(key)).toList();
  }
}
