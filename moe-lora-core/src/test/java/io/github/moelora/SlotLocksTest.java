package io.github.moelora;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@Timeout(60)
class SlotLocksTest {
  /** Frames that the test needs after a lock, more than an unlock does. */
  private static final int FRAMES = 12;

  /** Near the end of the stack a lock is refused; one that is granted can be given back. */
  @Test
  void whoGetsALockHasTheStackToGiveItBack() throws Exception {
    SlotLocks locks = new SlotLocks(2, true);
    AtomicInteger refused = new AtomicInteger();
    AtomicInteger granted = new AtomicInteger();
    AtomicInteger stuck = new AtomicInteger();
    Runnable attempt =
        () -> {
          long stamp;
          try {
            stamp = locks.lockShared();
          } catch (StackOverflowError e) {
            refused.incrementAndGet();
            return;
          }
          try {
            descend(FRAMES);
            granted.incrementAndGet();
          } catch (StackOverflowError e) {
            stuck.incrementAndGet();
          } finally {
            locks.unlockShared(stamp);
          }
        };
    Thread thread = new Thread(null, () -> fromTheEnd(attempt, granted), "digger", 1 << 17);
    thread.start();
    thread.join();
    assertThat(refused.get()).isPositive();
    assertThat(granted.get()).isPositive();
    assertThat(stuck.get()).isZero();
    locks.unlockAlone(locks.lockAlone());
  }

  private static int descend(int frames) {
    return frames == 0 ? 0 : 1 + descend(frames - 1);
  }

  @SuppressWarnings("InfiniteRecursion") // that is the point
  private static void fromTheEnd(Runnable attempt, AtomicInteger granted) {
    try {
      fromTheEnd(attempt, granted);
    } catch (StackOverflowError e) {
      // the end
    }
    if (granted.get() < 20) {
      try {
        attempt.run();
      } catch (StackOverflowError e) {
        // not even that
      }
    }
  }
}
