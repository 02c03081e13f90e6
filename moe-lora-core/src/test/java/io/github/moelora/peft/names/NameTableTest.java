package io.github.moelora.peft.names;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;

/** The table against its entries tried one after the other. */
final class NameTableTest {
  private static final List<String> PATTERNS =
      List.of(
          "a",
          "b",
          "a.b",
          "a\\.b",
          ".*\\.b",
          ".*\\.a\\.b",
          "^a.b",
          "^x.a.b",
          "a.b$",
          "ab",
          "a|b",
          "(a|x).b",
          "[ab]",
          "\\w",
          "x.*b",
          "a-b",
          "..");

  private static final List<String> PARTS = List.of("a", "b", "x", "ab", "a-b", "A");

  @Test
  void theFirstThatMatchesCounts() {
    long seed = 20261129;
    Random random = new Random(seed);
    NamePattern.Budget budget = new NamePattern.Budget(Long.MAX_VALUE);
    for (int round = 0; round < 500; round++) {
      NameTable<Integer> table = new NameTable<>(budget);
      List<NamePattern> patterns = new ArrayList<>();
      for (int i = random.nextInt(6); i >= 0; i--) {
        String regex = PATTERNS.get(random.nextInt(PATTERNS.size()));
        table.add(regex, patterns.size());
        patterns.add(NamePattern.suffix(regex, budget));
      }
      for (int i = 0; i < 10; i++) {
        List<String> parts = new ArrayList<>();
        for (int part = random.nextInt(4); part >= 0; part--) {
          parts.add(PARTS.get(random.nextInt(PARTS.size())));
        }
        String name = String.join(".", parts);
        assertThat(table.find(name))
            .as("seed %d, %s in %s", seed, name, patterns)
            .isEqualTo(first(patterns, name));
      }
    }
  }

  private static @Nullable Integer first(List<NamePattern> patterns, String name) {
    for (int i = 0; i < patterns.size(); i++) {
      if (patterns.get(i).matches(name)) {
        return i;
      }
    }
    return null;
  }

  /** An entry for each of 18,432 modules costs a few steps for each look-up, not 18,432. */
  @Test
  void aLargeTableIsNotSearchedFromEndToEnd() {
    NamePattern.Budget building = new NamePattern.Budget(Long.MAX_VALUE);
    NameTable<Integer> table = new NameTable<>(building);
    NamePattern.Budget budget = new NamePattern.Budget(18_432 * 20L);
    NameTable<Integer> bounded = new NameTable<>(budget);
    List<String> names = new ArrayList<>();
    for (int layer = 0; layer < 48; layer++) {
      for (int expert = 0; expert < 128; expert++) {
        for (String linear : List.of("gate_proj", "up_proj", "down_proj")) {
          names.add("model.layers.%d.mlp.experts.%d.%s".formatted(layer, expert, linear));
          table.add(names.getLast(), names.size());
          bounded.add(names.getLast(), names.size());
        }
      }
    }
    for (int i = 0; i < names.size(); i++) {
      assertThat(bounded.find(names.get(i))).isEqualTo(i + 1);
    }
    assertThatThrownBy(
            () -> {
              while (true) {
                bounded.find("x");
              }
            })
        .isInstanceOf(NamePattern.ExhaustedException.class);
    assertThat(table.isEmpty()).isFalse();
  }
}
