package io.github.moelora.cache;

import static org.assertj.core.api.Assertions.assertThat;

import io.github.moelora.MoeLora;
import io.github.moelora.testkit.Seeds;
import java.io.IOException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** Many virtual threads, with changes, failures, cancellations and short patience. */
@Timeout(120)
class CacheThreadsTest {
  private static final int THREADS = 300;
  private static final int ROUNDS = 30;
  private static final int NAMES = 25;
  private static final int SLOTS = 4;

  private final FakeSource source = new FakeSource();
  private final FakeSlots slots = new FakeSlots(SLOTS);
  private final AtomicInteger leases = new AtomicInteger();

  @Test
  void everyLeaseKeepsItsWeights() throws Exception {
    Random seeds = new Random(Seeds.of("cache threads"));
    try (MoeLora lora = slots.open();
        AdapterCache cache =
            new AdapterCache(
                lora, source, CacheLimits.of(9 * FakeSource.BYTES).withMaxWaiting(THREADS));
        ExecutorService threads = Executors.newVirtualThreadPerTaskExecutor()) {
      List<Future<?>> running = new ArrayList<>();
      for (int thread = 0; thread < THREADS; thread++) {
        Random random = new Random(seeds.nextLong());
        running.add(
            threads.submit(
                () -> {
                  for (int round = 0; round < ROUNDS; round++) {
                    round(cache, random);
                  }
                  return null;
                }));
      }
      for (Future<?> thread : running) {
        thread.get();
      }
      awaitQuiet(cache);
      CacheStats stats = cache.stats();
      assertThat(leases.get()).isGreaterThan(THREADS * ROUNDS / 2);
      assertThat(stats.hits() + stats.misses()).isGreaterThanOrEqualTo(leases.get());
      assertThat(stats.resident()).isBetween(1, SLOTS);
      assertThat(stats.hostBytes()).isLessThanOrEqualTo(9 * FakeSource.BYTES);
      // nothing is stuck
      for (int name = 0; name < NAMES; name++) {
        source.fail("n" + name, null);
        use(cache.acquire("n" + name));
      }
    }
  }

  /** A cancelled request may have been granted a lease that is on its way back. */
  private static void awaitQuiet(AdapterCache cache) {
    while (cache.stats().leases() > 0 || cache.stats().waiting() > 0) {
      Thread.onSpinWait();
    }
  }

  private void round(AdapterCache cache, Random random) throws Exception {
    // few names are asked for often
    String name = "n" + random.nextInt(1 + random.nextInt(NAMES));
    try {
      switch (random.nextInt(20)) {
        case 0 -> source.change(name);
        case 1 -> {
          source.fail(name, new IOException("broken"));
          source.change(name);
          use(cache.acquire(name));
        }
        case 2 -> {
          CompletableFuture<Lease> future = cache.acquireAsync(name);
          if (!future.cancel(false)) {
            use(future.join());
          }
        }
        case 3 -> use(cache.acquire(name, Duration.ofNanos(1 + random.nextInt(200_000))));
        case 4 -> cache.invalidate(name);
        default -> {
          source.fail(name, null);
          use(cache.acquireAsync(name).get(100, TimeUnit.SECONDS));
        }
      }
    } catch (AdapterLoadException | AdapterRefusedException e) {
      // what the rules say
    } catch (ExecutionException e) {
      assertThat(e.getCause())
          .isInstanceOfAny(AdapterLoadException.class, AdapterRefusedException.class);
    } catch (TimeoutException e) {
      throw new AssertionError("stuck: " + cache.stats(), e);
    }
  }

  @SuppressWarnings("ThreadPriorityCheck") // lets others run between two looks, no more
  private void use(Lease lease) {
    leases.incrementAndGet();
    String content = slots.content(lease.slot());
    assertThat(content).startsWith(lease.name() + "@");
    int version = Integer.parseInt(content.substring(content.indexOf('@') + 1));
    assertThat(version).isGreaterThanOrEqualTo((Integer) lease.version());
    for (int i = ThreadLocalRandom.current().nextInt(3); i > 0; i--) {
      Thread.yield();
      assertThat(slots.content(lease.slot())).isEqualTo(content);
    }
    lease.close();
  }
}
