package io.github.moelora.peft;

import io.github.moelora.peft.PeftAdapter.Entry;
import io.github.moelora.peft.PeftAdapter.Linear;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/** What all entries of a file must have in common. */
final class EntryRules {
  /** Whom a pair belongs to. */
  private record Site(int layer, int expert) {}

  private final AdapterTensors tensors;

  EntryRules(AdapterTensors tensors) {
    this.tensors = tensors;
  }

  /**
   * Checks them.
   *
   * @param zeroExperts experts that pairs of gate and up hold beyond those of down
   */
  void require(List<Entry> entries, int zeroExperts) {
    requireOnePairPerSite(entries);
    requireOneExpertCount(entries, zeroExperts);
  }

  /** No two pairs may change the same output columns. */
  private void requireOnePairPerSite(List<Entry> entries) {
    Map<Site, Integer> taken = new HashMap<>();
    for (Entry entry : entries) {
      int columns =
          switch (entry.linear()) {
            case GATE -> 1;
            case UP -> 2;
            case GATE_UP -> 1 | 2;
            case DOWN -> 4;
          };
      Site site = new Site(entry.layer(), entry.expert());
      int before = taken.getOrDefault(site, 0);
      if ((before & columns) != 0) {
        throw tensors.fault(
            entry.a().name(),
            "an expert must have one pair for each linear layer",
            "one more for %s".formatted(entry.linear()));
      }
      taken.put(site, before | columns);
    }
  }

  /** A pair of all experts holds as many as any other, and stands beside none of one expert. */
  private void requireOneExpertCount(List<Entry> entries, int zeroExperts) {
    Entry fused = null;
    Entry ofAll = null;
    for (Entry entry : entries) {
      if (entry.expert() < 0) {
        ofAll = ofAll == null ? entry : ofAll;
        if (entry.experts() > 0) {
          fused = fused == null ? entry : fused;
          requireSameCount(entry, fused, zeroExperts);
        }
      }
    }
    for (Entry entry : entries) {
      if (ofAll != null && entry.expert() >= 0) {
        throw tensors.fault(
            entry.a().name(),
            "a file must hold pairs of all experts or of single ones, not both",
            ofAll.a().name());
      }
    }
  }

  private void requireSameCount(Entry entry, Entry first, int zeroExperts) {
    int expected = first.experts() + beyond(entry, zeroExperts) - beyond(first, zeroExperts);
    if (entry.experts() != expected) {
      throw tensors.fault(
          entry.a().name(),
          "it must hold %d experts as %s does".formatted(expected, first.a().name()),
          entry.experts());
    }
  }

  private static int beyond(Entry entry, int zeroExperts) {
    return entry.linear() == Linear.DOWN ? 0 : zeroExperts;
  }

  /**
   * How many experts the pairs of the first projection hold beyond those of down, where that is the
   * same in the whole file.
   *
   * @return 0 where it is not, or where one of them is missing
   */
  static int surplus(List<Entry> entries) {
    int first = 0;
    int down = 0;
    for (Entry entry : entries) {
      int held = entry.expert() < 0 ? entry.experts() : 0;
      boolean isDown = entry.linear() == Linear.DOWN;
      int before = isDown ? down : first;
      if (held < 1 || (before > 0 && before != held)) {
        return 0;
      }
      if (isDown) {
        down = held;
      } else {
        first = held;
      }
    }
    return down > 0 ? Math.max(0, first - down) : 0;
  }
}
