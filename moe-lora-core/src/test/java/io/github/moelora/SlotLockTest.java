package io.github.moelora;

import static org.assertj.core.api.Assertions.assertThat;

import io.github.moelora.testkit.Allocation;
import java.util.List;
import java.util.concurrent.CopyOnWriteArrayList;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@Timeout(60)
class SlotLockTest {

  @Test
  void readersShareAndCostNothing() {
    SlotLock lock = new SlotLock();
    long first = lock.readLock();
    long second = lock.readLock();
    lock.unlockRead(first);
    lock.unlockRead(second);
    assertThat(Allocation.bytesPerCall(() -> lock.unlockRead(lock.readLock()))).isZero();
    // both have left
    lock.unlockWrite(lock.writeLock());
    assertThat(lock.hasWaitingWriter()).isFalse();
  }

  /** A writer that waits goes before readers that come later, so endless runs cannot starve it. */
  @Test
  void aReaderQueuesBehindAWaitingWriter() throws Exception {
    SlotLock lock = new SlotLock();
    List<String> order = new CopyOnWriteArrayList<>();
    long early = lock.readLock();
    Thread writer =
        Thread.ofPlatform()
            .start(
                () -> {
                  long stamp = lock.writeLock();
                  order.add("writer");
                  lock.unlockWrite(stamp);
                });
    while (!lock.hasWaitingWriter()) {
      Thread.onSpinWait();
    }
    Thread reader =
        Thread.ofPlatform()
            .start(
                () -> {
                  long stamp = lock.readLock();
                  order.add("late reader");
                  lock.unlockRead(stamp);
                });
    while (reader.getState() != Thread.State.WAITING
        && reader.getState() != Thread.State.TERMINATED) {
      Thread.onSpinWait();
    }
    assertThat(order).isEmpty();
    lock.unlockRead(early);
    writer.join();
    reader.join();
    assertThat(order).containsExactly("writer", "late reader");
  }

  @Test
  void aWriterIsAlone() throws Exception {
    SlotLock lock = new SlotLock();
    List<String> order = new CopyOnWriteArrayList<>();
    long stamp = lock.writeLock();
    Thread reader =
        Thread.ofPlatform()
            .start(
                () -> {
                  long own = lock.readLock();
                  order.add("reader");
                  lock.unlockRead(own);
                });
    while (reader.getState() != Thread.State.WAITING) {
      Thread.onSpinWait();
    }
    order.add("writer");
    lock.unlockWrite(stamp);
    reader.join();
    assertThat(order).containsExactly("writer", "reader");
  }
}
