package io.github.moelora.peft;

import io.github.moelora.AdapterFormatException;
import io.github.moelora.peft.PeftAdapter.DenseEntry;
import io.github.moelora.peft.PeftAdapter.Entry;
import io.github.moelora.peft.PeftAdapter.Packing;
import java.util.ArrayList;
import java.util.BitSet;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/** What names and shapes of a file tell that its user should know before the first token. */
final class StructureWarnings {
  /** Experts and tensors that a warning names; more are counted. */
  private static final int NAMED = 5;

  private final List<Entry> entries;
  private final List<DenseEntry> dense;
  private final FilePairs pairs;
  private final List<String> warnings = new ArrayList<>();

  StructureWarnings(List<Entry> entries, List<DenseEntry> dense, FilePairs pairs) {
    this.entries = entries;
    this.dense = dense;
    this.pairs = pairs;
  }

  /**
   * All warnings.
   *
   * @param reader which of the config's words the file does not keep
   * @param reversed whether the shapes told that nested wrappers are in the exchanged order
   */
  List<String> all(EntryReader reader, boolean reversed) {
    String unnamed = reader.unnamed();
    if (entries.isEmpty() && dense.isEmpty()) {
      warnings.add("the adapter holds no pair at all, so it changes nothing");
    }
    if (unnamed != null) {
      warnings.add(
          ("the config names no target_parameters; the wrappers of %s are taken for its parameters"
                  + " in the order in which the model registers them"
                  + " (ReadOptions.targetParameters, --layout parameters=..., says it otherwise)")
              .formatted(unnamed));
    }
    if (reversed) {
      warnings.add(
          "the shapes tell that the two wrappers of the experts are nested in the exchanged order:"
              + " down is the inner one, gate and up the outer one");
    }
    addMissingExperts();
    addLeftOut(
        reader.untargeted(),
        "modules have pairs, but the config does not target them, so that PEFT would leave them"
            + " out; they are applied");
    addLeftOut(pairs.leftOut(), "tensors of other experts than those asked for are left out");
    addLeftOut(pairs.unsupported(), "tensors cannot be applied and are left out");
    return List.copyOf(warnings);
  }

  private void addLeftOut(List<String> names, String what) {
    if (!names.isEmpty()) {
      warnings.add(
          "%d %s, the first is %s"
              .formatted(names.size(), what, AdapterFormatException.printable(names.getFirst())));
    }
  }

  /** Experts that one layer has tensors of, and another layer with tensors has none of. */
  private void addMissingExperts() {
    Map<Integer, BitSet> byLayer = new TreeMap<>();
    BitSet all = new BitSet();
    for (Entry entry : entries) {
      if (entry.packing() == Packing.SINGLE) {
        byLayer.computeIfAbsent(entry.layer(), layer -> new BitSet()).set(entry.expert());
        all.set(entry.expert());
      }
    }
    all.set(0, all.length());
    List<String> missing = new ArrayList<>();
    int count = 0;
    for (Map.Entry<Integer, BitSet> layer : byLayer.entrySet()) {
      BitSet without = (BitSet) all.clone();
      without.andNot(layer.getValue());
      if (!without.isEmpty()) {
        count += without.cardinality();
        if (missing.size() < NAMED) {
          missing.add("layer %d: %s".formatted(layer.getKey(), without));
        }
      }
    }
    if (count > 0) {
      warnings.add(
          "%d experts have no tensor at all, so they are not changed (%s%s)"
              .formatted(count, String.join(", ", missing), count > NAMED ? ", ..." : ""));
    }
  }
}
