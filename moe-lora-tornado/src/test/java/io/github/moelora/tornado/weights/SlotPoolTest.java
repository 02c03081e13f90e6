package io.github.moelora.tornado.weights;

import static org.assertj.core.api.Assertions.assertThat;

import io.github.moelora.testkit.Seeds;
import java.util.Arrays;
import java.util.Random;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Random changes of a pool, applied to an array, beside a model that keeps each slot's numbers. */
@Tag("no-device")
class SlotPoolTest {
  private static final long NOTHING = -1;

  /** A pool in memory, and what each slot must hold. */
  private static final class Memory {
    final SlotPool pool;
    final long[] elements;
    final long[][] expected;
    final int piece;
    long nextNumber;
    int repeated;
    int moves;

    Memory(int slots, int size, int piece) {
      pool = new SlotPool(slots, size);
      elements = new long[size];
      expected = new long[slots][0];
      this.piece = piece;
      Arrays.fill(elements, NOTHING);
    }

    /**
     * Carries out a change; pieces of it twice, as after a failure, where the random number says.
     */
    void change(int slot, int count, boolean keep, Random random) {
      long[] numbers = new long[count];
      Arrays.setAll(numbers, i -> nextNumber + i);
      nextNumber += count;
      pool.begin(slot, count, keep);
      do {
        pool.next(piece);
        apply(numbers);
        if (random.nextInt(3) == 0) {
          repeated++;
          apply(numbers);
        }
      } while (!pool.isLast());
      expected[slot] = numbers;
    }

    void apply(long[] numbers) {
      assertThat(pool.pieceCount()).isBetween(0, piece);
      long[] staged = new long[pool.pieceCount()];
      moves += pool.isMove() ? 1 : 0;
      System.arraycopy(
          pool.isMove() ? elements : numbers, pool.from(), staged, 0, pool.pieceCount());
      System.arraycopy(staged, 0, elements, pool.to(), staged.length);
    }

    void check() {
      for (int slot = 0; slot < expected.length; slot++) {
        int from = pool.offset(slot);
        assertThat(Arrays.copyOfRange(elements, from, from + expected[slot].length))
            .as("slot %d of %s", slot, pool)
            .isEqualTo(expected[slot]);
      }
    }
  }

  @ParameterizedTest
  @CsvSource({"1, 7, 3", "2, 13, 1", "5, 40, 4", "8, 97, 16", "8, 64, 64"})
  void everySlotKeepsItsNumbers(int slots, int size, int piece) {
    Random random = new Random(Seeds.of("everySlotKeepsItsNumbers " + slots + " " + size));
    Memory memory = new Memory(slots, size, piece);
    int refused = 0;
    int reverted = 0;
    for (int i = 0; i < 2000; i++) {
      int slot = random.nextInt(slots);
      int count = random.nextInt(4) == 0 ? 0 : random.nextInt(1 + 2 * size / slots);
      int others = 0;
      for (int s = 0; s < slots; s++) {
        others += s == slot ? 0 : memory.expected[s].length;
      }
      assertThat(memory.pool.room(slot)).isEqualTo(size - others);
      if (count > size - others) {
        refused++;
        continue;
      }
      boolean beside = count <= size - others - memory.expected[slot].length;
      assertThat(memory.pool.hasRoomBeside(count)).isEqualTo(beside);
      long[] before = memory.expected[slot];
      memory.change(slot, count, beside, random);
      if (beside && random.nextInt(4) == 0) {
        memory.pool.revert();
        memory.expected[slot] = before;
        reverted++;
      } else {
        memory.pool.settle();
        memory.pool.promise(slot, count);
      }
      memory.check();
    }
    assertThat(refused).isPositive();
    assertThat(reverted).isPositive();
    assertThat(memory.repeated).isPositive();
    assertThat(memory.moves).as("moves").isGreaterThanOrEqualTo(slots > 2 ? 1 : 0);
  }

  /** Gaps that are too small are joined by moves, of which nothing is lost. */
  @Test
  void joinsGaps() {
    Memory memory = new Memory(4, 40, 8);
    Random random = new Random(1);
    for (int slot = 0; slot < 4; slot++) {
      memory.change(slot, 10, true, random);
    }
    memory.change(0, 0, true, random);
    memory.change(2, 0, true, random);
    assertThat(memory.pool.hasRoomBeside(20)).isTrue();
    assertThat(memory.moves).isZero();
    memory.change(2, 20, true, random);
    assertThat(memory.moves).isPositive();
    memory.check();
  }
}
