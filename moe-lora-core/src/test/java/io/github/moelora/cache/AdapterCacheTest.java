package io.github.moelora.cache;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatExceptionOfType;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assertions.assertThatIllegalStateException;
import static org.assertj.core.api.Assertions.assertThatNullPointerException;

import io.github.moelora.MoeLora;
import io.github.moelora.testkit.Logged;
import java.io.IOException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.atomic.AtomicReference;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** Each rule of the cache, with sources and slots that the test holds up. No test sleeps. */
@Timeout(60)
class AdapterCacheTest {
  private final FakeSource source = new FakeSource();
  private final FakeSlots slots = new FakeSlots(2);
  private final MoeLora lora = slots.open();
  private final List<String> events = new CopyOnWriteArrayList<>();
  private @Nullable AdapterCache cache;

  @AfterEach
  void close() {
    if (cache != null) {
      cache.close();
    }
    lora.close();
  }

  private final CacheListener recorder =
      new CacheListener() {
        @Override
        public void acquired(String name, int slot, boolean hit, long waitNanos) {
          assertThat(waitNanos).isNotNegative();
          events.add("acquired " + name + (hit ? " hit" : ""));
        }

        @Override
        public void read(String name, long bytes, long nanos) {
          events.add("read %s %d".formatted(name, bytes));
        }

        @Override
        public void loaded(String name, int slot, long bytes, long nanos) {
          events.add("loaded %s %d".formatted(name, bytes));
        }

        @Override
        public void evicted(String name, int slot) {
          events.add("evicted " + name);
        }

        @Override
        public void failed(String name, Throwable cause, int requests) {
          events.add("failed %s %d".formatted(name, requests));
        }

        @Override
        public void refused(String name) {
          events.add("refused " + name);
        }
      };

  private AdapterCache open(CacheLimits limits) {
    AdapterCache opened = new AdapterCache(lora, source, limits, recorder);
    cache = opened;
    return opened;
  }

  private AdapterCache open() {
    return open(CacheLimits.of(10 * FakeSource.BYTES));
  }

  private void assertHolds(Lease lease, String adapter) {
    assertThat(slots.content(lease.slot())).isEqualTo(adapter);
  }

  // ---- hits, misses, eviction ----

  @Test
  void anAdapterIsReadAndLoadedOnceAndThenHit() throws Exception {
    AdapterCache adapters = open();
    int slot;
    try (Lease lease = adapters.acquire("a")) {
      assertThat(lease.name()).isEqualTo("a");
      assertThat(lease.version()).isEqualTo(0);
      assertThat(lease).hasToString("Lease[a, slot %d]", lease.slot());
      assertHolds(lease, "a@0");
      slot = lease.slot();
    }
    try (Lease again = adapters.acquire("a");
        Lease shared = adapters.acquire("a")) {
      assertThat(again.slot()).isEqualTo(slot);
      assertThat(shared.slot()).isEqualTo(slot);
      assertThat(adapters.stats().leases()).isEqualTo(2);
    }
    assertThat(events)
        .containsExactly(
            "read a 16", "loaded a 16", "acquired a", "acquired a hit", "acquired a hit");
    CacheStats stats = adapters.stats();
    assertThat(stats.waitNanos()).isPositive();
    assertThat(stats)
        .isEqualTo(new CacheStats(2, 1, 1, 0, 1, 0, 0, 0, stats.waitNanos(), 16, 16, 1, 0, 0));
  }

  @Test
  void theLeastRecentlyUsedSlotWithoutLeasesIsTaken() throws Exception {
    AdapterCache adapters = open();
    adapters.acquire("a").close();
    adapters.acquire("b").close();
    adapters.acquire("a").close();
    // b is the older one
    try (Lease c = adapters.acquire("c")) {
      assertHolds(c, "c@0");
      assertThat(events).contains("evicted b").doesNotContain("evicted a");
      // c is leased, so a must go although c was used less recently than a soon
      adapters.acquire("a").close();
      try (Lease d = adapters.acquire("d")) {
        assertHolds(d, "d@0");
        assertHolds(c, "c@0");
      }
    }
    assertThat(events).filteredOn(event -> event.startsWith("evicted")).hasSize(2);
    assertThat(events).contains("evicted a");
    assertThat(adapters.stats().evictions()).isEqualTo(2);
  }

  @Test
  void closingALeaseTwiceGivesBackOneLease() throws Exception {
    AdapterCache adapters = open();
    Lease first = adapters.acquire("a");
    Lease second = adapters.acquire("a");
    first.close();
    first.close();
    assertThat(adapters.stats().leases()).isEqualTo(1);
    second.close();
    assertThat(adapters.stats().leases()).isZero();
  }

  /** Requests that come while a read is under way share it; so do those during the load. */
  @Test
  void requestsForOneNameShareOneLoad() throws Exception {
    AdapterCache adapters = open();
    FakeSource.Gate read = source.hold("a");
    FakeSource.Gate load = slots.hold("a@0");
    List<CompletableFuture<Lease>> futures = new ArrayList<>();
    for (int i = 0; i < 5; i++) {
      futures.add(adapters.acquireAsync("a"));
    }
    read.reached.await();
    futures.add(adapters.acquireAsync("a"));
    read.open.countDown();
    load.reached.await();
    futures.add(adapters.acquireAsync("a"));
    assertThat(futures).noneMatch(CompletableFuture::isDone);
    assertThat(adapters.stats().waiting()).isEqualTo(7);
    load.open.countDown();
    for (CompletableFuture<Lease> future : futures) {
      future.join().close();
    }
    assertThat(source.reads).hasValue(1);
    assertThat(adapters.stats().loads()).isEqualTo(1);
    assertThat(adapters.stats().misses()).isEqualTo(7);
  }

  /** While one adapter is read or loaded, others are hit. */
  @Test
  void loadsHoldUpNobodyElse() throws Exception {
    AdapterCache adapters = open();
    adapters.acquire("a").close();
    FakeSource.Gate read = source.hold("b");
    FakeSource.Gate load = slots.hold("b@0");
    CompletableFuture<Lease> b = adapters.acquireAsync("b");
    read.reached.await();
    adapters.acquire("a").close();
    read.open.countDown();
    load.reached.await();
    adapters.acquire("a").close();
    load.open.countDown();
    b.join().close();
  }

  /** Reading comes first, so the adapter whose slot will be taken serves until then. */
  @Test
  void theSlotKeepsItsAdapterUntilTheNextOneIsRead() throws Exception {
    AdapterCache adapters = open();
    adapters.acquire("a").close();
    adapters.acquire("b").close();
    FakeSource.Gate read = source.hold("c");
    CompletableFuture<Lease> c = adapters.acquireAsync("c");
    read.reached.await();
    adapters.acquire("a").close();
    adapters.acquire("b").close();
    assertThat(source.reads).hasValue(3);
    read.open.countDown();
    c.join().close();
    assertThat(events).contains("evicted a");
  }

  // ---- host memory ----

  @Test
  void hostMemoryHoldsAsManyBytesAsItMay() throws Exception {
    AdapterCache adapters = open(CacheLimits.of(3 * FakeSource.BYTES + 1));
    for (String name : List.of("a", "b", "c", "d")) {
      adapters.acquire(name).close();
      assertThat(adapters.stats().hostBytes()).isLessThanOrEqualTo(3 * FakeSource.BYTES);
    }
    assertThat(adapters.stats().hostBytes()).isEqualTo(3 * FakeSource.BYTES);
    // b is in no slot but in host memory; a was dropped
    adapters.acquire("b").close();
    assertThat(source.reads).hasValue(4);
    assertThat(adapters.stats().hostHits()).isEqualTo(1);
    adapters.acquire("a").close();
    assertThat(source.reads).hasValue(5);
  }

  @Test
  void withoutHostMemoryEveryLoadReads() throws Exception {
    AdapterCache adapters = open(CacheLimits.of(0));
    for (String name : List.of("a", "b", "c", "a", "b", "c")) {
      try (Lease lease = adapters.acquire(name)) {
        assertHolds(lease, name + "@0");
      }
      assertThat(adapters.stats().hostBytes()).isZero();
    }
    assertThat(source.reads).hasValue(6);
  }

  // ---- waiting ----

  @Test
  void requestsWaitForASlotInTheOrderInWhichTheyCame() throws Exception {
    AdapterCache adapters = open(CacheLimits.of(1000).withReaders(8));
    Lease a = adapters.acquire("a");
    Lease b = adapters.acquire("b");
    List<CompletableFuture<Lease>> waiting = new ArrayList<>();
    for (String name : List.of("c", "d", "e")) {
      waiting.add(adapters.acquireAsync(name));
      awaitEvent("read " + name + " 16");
    }
    assertThat(waiting).noneMatch(CompletableFuture::isDone);
    a.close();
    Lease c = waiting.get(0).join();
    assertHolds(c, "c@0");
    assertThat(waiting.get(1)).isNotDone();
    b.close();
    Lease d = waiting.get(1).join();
    assertHolds(d, "d@0");
    assertThat(waiting.get(2)).isNotDone();
    c.close();
    Lease e = waiting.get(2).join();
    assertHolds(e, "e@0");
    d.close();
    e.close();
  }

  private void awaitEvent(String event) {
    while (!events.contains(event)) {
      Thread.onSpinWait();
    }
  }

  /** Leases of adapters that are ready would keep another one out for ever. */
  @Test
  void anAdapterThatWaitsIsPassedOnlySoOften() throws Exception {
    AdapterCache adapters = open(CacheLimits.of(1000).withMaxPassed(10));
    Lease a = adapters.acquire("a");
    Lease b = adapters.acquire("b");
    CompletableFuture<Lease> c = adapters.acquireAsync("c");
    awaitEvent("read c 16");
    // until the state knows, too
    while (c.isDone() || !settled(adapters)) {
      Thread.onSpinWait();
    }
    // overlapping leases of a and b without end, until one is told to wait behind c
    Lease[] leases = {a, b};
    String[] names = {"a", "b"};
    int granted = 0;
    CompletableFuture<Lease> next = adapters.acquireAsync("a");
    while (next.isDone()) {
      leases[granted % 2].close();
      leases[granted % 2] = next.join();
      granted++;
      assertThat(granted).isLessThanOrEqualTo(11);
      next = adapters.acquireAsync(names[granted % 2]);
    }
    assertThat(granted).isGreaterThanOrEqualTo(10);
    assertThat(c).isNotDone();
    leases[granted % 2].close();
    Lease leaseC = c.join();
    assertHolds(leaseC, "c@0");
    assertThat(next).isNotDone();
    leaseC.close();
    Lease last = next.join();
    assertHolds(last, names[granted % 2] + "@0");
    last.close();
    leases[(granted + 1) % 2].close();
    assertThat(adapters.stats().leases()).isZero();
  }

  private static boolean settled(AdapterCache adapters) {
    return adapters.stats().reads() >= 3;
  }

  @Test
  void tooManyWaitingRequestsAreRefused() throws Exception {
    AdapterCache adapters = open(CacheLimits.of(1000).withMaxWaiting(2));
    Lease a = adapters.acquire("a");
    Lease b = adapters.acquire("b");
    CompletableFuture<Lease> c = adapters.acquireAsync("c");
    CompletableFuture<Lease> alsoC = adapters.acquireAsync("c");
    assertThatExceptionOfType(AdapterRefusedException.class)
        .isThrownBy(() -> adapters.acquire("d"))
        .withMessage("adapter d must wait, but waiting requests must be at most 2, got one more");
    assertThat(adapters.acquireAsync("d"))
        .failsWithin(Duration.ofSeconds(10))
        .withThrowableOfType(ExecutionException.class)
        .withCauseInstanceOf(AdapterRefusedException.class);
    assertThat(events).contains("refused d");
    assertThat(adapters.stats().refusals()).isEqualTo(2);
    // those in slots need not wait
    adapters.acquire("a").close();
    a.close();
    c.join().close();
    alsoC.join().close();
    b.close();
  }

  @Test
  void whoWaitsTooLongIsRefusedAndLeavesTheLine() throws Exception {
    AdapterCache adapters = open(CacheLimits.of(1000).withMaxWait(Duration.ofMillis(1)));
    FakeSource.Gate read = source.hold("a");
    assertThatExceptionOfType(AdapterRefusedException.class)
        .isThrownBy(() -> adapters.acquire("a"))
        .withMessage(
            "adapter a must be had within PT0.001S, but no slot became free or it was not loaded in"
                + " time");
    assertThatExceptionOfType(AdapterRefusedException.class)
        .isThrownBy(() -> adapters.acquire("a", Duration.ofNanos(1)));
    CompletableFuture<Lease> late = adapters.acquireAsync("a");
    assertThat(late)
        .failsWithin(Duration.ofSeconds(30))
        .withThrowableOfType(ExecutionException.class)
        .withCauseInstanceOf(AdapterRefusedException.class);
    assertThat(adapters.stats().waiting()).isZero();
    assertThat(adapters.stats().refusals()).isEqualTo(3);
    read.open.countDown();
    // what was read is kept, so this is quick or at least shares nothing with the late ones
    try (Lease lease = adapters.acquire("a", Duration.ofSeconds(30))) {
      assertHolds(lease, "a@0");
    }
    assertThat(source.reads).hasValue(1);
  }

  @Test
  void anInterruptEndsTheWaitAndLeavesNoLease() throws Exception {
    AdapterCache adapters = open();
    FakeSource.Gate read = source.hold("a");
    AtomicReference<Throwable> thrown = new AtomicReference<>();
    Thread waiter =
        Thread.startVirtualThread(
            () -> {
              try {
                adapters.acquire("a").close();
              } catch (InterruptedException e) {
                thrown.set(e);
              }
            });
    read.reached.await();
    waiter.interrupt();
    waiter.join();
    assertThat(thrown.get()).isInstanceOf(InterruptedException.class);
    read.open.countDown();
    adapters.acquire("a").close();
    assertThat(adapters.stats().leases()).isZero();
    assertThat(adapters.stats().waiting()).isZero();
  }

  @Test
  void aCancelledFutureLeavesTheLine() throws Exception {
    AdapterCache adapters = open();
    Lease a = adapters.acquire("a");
    Lease b = adapters.acquire("b");
    CompletableFuture<Lease> c = adapters.acquireAsync("c");
    CompletableFuture<Lease> d = adapters.acquireAsync("d");
    assertThat(c.cancel(false)).isTrue();
    assertThat(adapters.stats().waiting()).isEqualTo(1);
    a.close();
    d.join().close();
    assertThat(events).doesNotContain("loaded c 16");
    b.close();
    assertThat(adapters.stats().leases()).isZero();
  }

  /** Code that hangs on a future may block without holding up the threads of the cache. */
  @Test
  void whatHangsOnAFutureMayBlock() {
    AdapterCache adapters = open(CacheLimits.of(1000).withReaders(1));
    FakeSource.Gate read = source.hold("a");
    CountDownLatch end = new CountDownLatch(1);
    CompletableFuture<Void> blocked =
        adapters
            .acquireAsync("a")
            .thenAccept(
                lease -> {
                  try (lease) {
                    end.await();
                  } catch (InterruptedException e) {
                    throw new CompletionException(e);
                  }
                });
    // not before the code hangs on it, else this thread would run it
    read.open.countDown();
    adapters.acquireAsync("b").join().close();
    assertThat(blocked).isNotDone();
    end.countDown();
    blocked.join();
  }

  // ---- failures ----

  @Test
  void aFailedReadFailsItsRequestsOnlyAndIsTriedAgain() throws Exception {
    AdapterCache adapters = open();
    IOException broken = new IOException("broken file");
    source.fail("a", broken);
    FakeSource.Gate read = source.hold("a");
    CompletableFuture<Lease> first = adapters.acquireAsync("a");
    CompletableFuture<Lease> second = adapters.acquireAsync("a");
    read.reached.await();
    adapters.acquire("b").close();
    read.open.countDown();
    for (CompletableFuture<Lease> future : List.of(first, second)) {
      assertThat(future)
          .failsWithin(Duration.ofSeconds(30))
          .withThrowableOfType(ExecutionException.class)
          .havingCause()
          .isInstanceOf(AdapterLoadException.class)
          .withMessage("adapter a could not be loaded: java.io.IOException: broken file")
          .withCause(broken);
    }
    assertThat(events).contains("failed a 2");
    // nobody had to leave a slot for it
    assertThat(events).noneMatch(event -> event.startsWith("evicted"));
    source.fail("a", null);
    try (Lease lease = adapters.acquire("a")) {
      assertHolds(lease, "a@0");
    }
    assertThat(adapters.stats().failures()).isEqualTo(1);
  }

  @Test
  void aFailedLoadLeavesAnEmptySlot() throws Exception {
    AdapterCache adapters = open();
    adapters.acquire("a").close();
    Lease b = adapters.acquire("b");
    slots.fail("c@0");
    assertThatExceptionOfType(AdapterLoadException.class)
        .isThrownBy(() -> adapters.acquire("c"))
        .withMessageContaining("no room for c@0")
        .withCauseInstanceOf(OutOfMemoryError.class);
    slots.fail("");
    assertThat(adapters.stats().resident()).isEqualTo(1);
    try (Lease c = adapters.acquire("c")) {
      assertHolds(c, "c@0");
    }
    // c was kept in host memory
    assertThat(source.reads).hasValue(3);
    b.close();
  }

  @Test
  void aVersionThatCannotBeToldFailsTheRequest() throws Exception {
    AdapterCache adapters = open();
    adapters.acquire("a").close();
    source.failVersion("a", new IOException("gone"));
    assertThatExceptionOfType(AdapterLoadException.class)
        .isThrownBy(() -> adapters.acquire("a"))
        .withMessage("adapter a could not be loaded: java.io.IOException: gone");
    source.failVersion("a", null);
    adapters.acquire("a").close();
    assertThat(source.reads).hasValue(1);
  }

  @Test
  void anAdapterThatDoesNotFitTakesNoSlot() {
    AdapterCache adapters =
        new AdapterCache(
            lora,
            (name, arena) ->
                io.github.moelora.LoraAdapter.builder(name)
                    .add(
                        7,
                        io.github.moelora.Projection.DOWN,
                        0,
                        new io.github.moelora.LoraSlice(
                            0,
                            io.github.moelora.Matrix.ofFloats(1, 1, 1),
                            io.github.moelora.Matrix.ofFloats(1, 1, 1),
                            1))
                    .build(),
            CacheLimits.of(1000));
    cache = adapters;
    assertThatExceptionOfType(AdapterLoadException.class)
        .isThrownBy(() -> adapters.acquire("x"))
        .withMessageContaining("layer must be one of [0], got 7");
    assertThat(adapters.stats().loads()).isZero();
    assertThat(adapters.stats().hostBytes()).isZero();
  }

  @Test
  void aListenerThatThrowsIsLoggedAndIgnored() throws Exception {
    CacheListener broken =
        new CacheListener() {
          @Override
          public void acquired(String name, int slot, boolean hit, long waitNanos) {
            throw new IllegalStateException("listener is broken");
          }
        };
    try (Logged log = new Logged(AdapterCache.class);
        AdapterCache adapters = new AdapterCache(lora, source, CacheLimits.of(1000), broken)) {
      adapters.acquire("a").close();
      adapters.acquire("a").close();
      assertThat(log.lines())
          .containsExactly("WARN cache listener failed", "WARN cache listener failed");
    }
  }

  // ---- new versions ----

  @Test
  void requestsUnderWayKeepTheOldWeightsOfAChangedFile() throws Exception {
    AdapterCache adapters = open();
    Lease old = adapters.acquire("a");
    source.change("a");
    Lease young = adapters.acquire("a");
    assertThat(young.slot()).isNotEqualTo(old.slot());
    assertHolds(old, "a@0");
    assertHolds(young, "a@1");
    assertThat(old.version()).isEqualTo(0);
    assertThat(young.version()).isEqualTo(1);
    // both slots are taken; the old one is free when its last lease is closed
    CompletableFuture<Lease> b = adapters.acquireAsync("b");
    assertThat(b).isNotDone();
    old.close();
    Lease leaseB = b.join();
    assertThat(leaseB.slot()).isEqualTo(old.slot());
    assertHolds(young, "a@1");
    young.close();
    leaseB.close();
  }

  @Test
  void aChangeDuringTheLoadReachesTheNextRequest() throws Exception {
    AdapterCache adapters = open();
    FakeSource.Gate load = slots.hold("a@0");
    CompletableFuture<Lease> first = adapters.acquireAsync("a");
    load.reached.await();
    source.change("a");
    CompletableFuture<Lease> second = adapters.acquireAsync("a");
    assertHolds(second.join(), "a@1");
    load.open.countDown();
    assertHolds(first.join(), "a@0");
    first.join().close();
    second.join().close();
    assertThat(adapters.stats().resident()).isEqualTo(1);
    assertThat(adapters.acquireAsync("a")).isCompletedWithValueMatching(lease -> close(lease, 1));
  }

  private static boolean close(Lease lease, Object version) {
    lease.close();
    return lease.version().equals(version);
  }

  @Test
  void anInvalidatedAdapterIsReadAnew() throws Exception {
    AdapterCache adapters = open();
    Lease old = adapters.acquire("a");
    adapters.invalidate("a");
    adapters.invalidate("never seen");
    try (Lease young = adapters.acquire("a")) {
      assertThat(young.slot()).isNotEqualTo(old.slot());
    }
    old.close();
    assertThat(source.reads).hasValue(2);
  }

  // ---- pins ----

  @Test
  void aPinnedAdapterKeepsItsSlot() throws Exception {
    AdapterCache adapters = open();
    adapters.pin("a");
    adapters.pin("a");
    for (String name : List.of("b", "c", "d")) {
      adapters.acquire(name).close();
    }
    assertThat(adapters.acquireAsync("a")).isCompletedWithValueMatching(lease -> close(lease, 0));
    assertThat(events).doesNotContain("evicted a");
    assertThatIllegalStateException()
        .isThrownBy(() -> adapters.pin("b"))
        .withMessage(
            "pinned adapters must be at most 1, so that one slot of 2 is left, got one more: b");
    adapters.unpin("a");
    adapters.unpin("a");
    for (String name : List.of("b", "c")) {
      adapters.acquire(name).close();
    }
    assertThat(events).contains("evicted a");
  }

  @Test
  void aPinnedAdapterOfANewVersionIsPinnedToo() throws Exception {
    AdapterCache adapters = open();
    adapters.pin("a");
    source.change("a");
    try (Lease lease = adapters.acquire("a")) {
      assertHolds(lease, "a@1");
    }
    for (String name : List.of("b", "c", "d")) {
      adapters.acquire(name).close();
    }
    assertThat(adapters.acquireAsync("a")).isCompletedWithValueMatching(lease -> close(lease, 1));
  }

  @Test
  void whatCannotBeLoadedIsNotPinned() throws Exception {
    AdapterCache adapters = open();
    source.fail("a", new IOException("broken"));
    assertThatExceptionOfType(AdapterLoadException.class).isThrownBy(() -> adapters.pin("a"));
    adapters.pin("b");
  }

  // ---- end ----

  @Test
  void closingFailsThoseWhoWait() throws Exception {
    AdapterCache adapters = open();
    Lease a = adapters.acquire("a");
    Lease b = adapters.acquire("b");
    CompletableFuture<Lease> waiting = adapters.acquireAsync("c");
    FakeSource.Gate read = source.hold("d");
    CompletableFuture<Lease> reading = adapters.acquireAsync("d");
    read.reached.await();
    Thread closer = Thread.startVirtualThread(adapters::close);
    for (CompletableFuture<Lease> future : List.of(waiting, reading)) {
      assertThat(future)
          .failsWithin(Duration.ofSeconds(30))
          .withThrowableOfType(ExecutionException.class)
          .havingCause()
          .isInstanceOf(IllegalStateException.class)
          .withMessage("AdapterCache is closed");
    }
    // the load under way is waited for
    assertThat(closer.isAlive()).isTrue();
    read.open.countDown();
    closer.join();
    adapters.close();
    assertHolds(a, "a@0");
    a.close();
    b.close();
    assertThatIllegalStateException()
        .isThrownBy(() -> adapters.acquire("a"))
        .withMessage("AdapterCache is closed");
    assertThatIllegalStateException().isThrownBy(() -> adapters.pin("a"));
    assertThat(adapters.acquireAsync("a")).isCompletedExceptionally();
    assertThat(adapters.stats().leases()).isZero();
    assertThat(adapters.stats().hostBytes()).isZero();
  }

  @Test
  void closingTellsTheCountersInOneLine() throws Exception {
    try (Logged log = new Logged(AdapterCache.class)) {
      AdapterCache adapters = open();
      adapters.acquire("a").close();
      adapters.close();
      assertThat(log.lines())
          .singleElement()
          .asString()
          .startsWith("INFO adapter cache closed: CacheStats[hits=0, misses=1, reads=1,");
    }
  }

  @Test
  void aLeaseThatIsDroppedIsNamedAndGivenBack() throws Exception {
    AdapterCache adapters = open();
    try (Logged log = new Logged(Lease.class)) {
      drop(adapters);
      while (adapters.stats().leases() > 0) {
        System.gc();
        Thread.onSpinWait();
      }
      assertThat(log.lines())
          .singleElement()
          .asString()
          .startsWith("WARN lease of adapter a in slot 0 was dropped without close");
    }
  }

  private static void drop(AdapterCache adapters) throws InterruptedException {
    assertThat(adapters.acquire("a").slot()).isZero();
  }

  // ---- arguments ----

  @Test
  void argumentsAreNamed() {
    AdapterCache adapters = open();
    assertThatNullPointerException()
        .isThrownBy(() -> adapters.acquire(nothing()))
        .withMessage("name must not be null");
    assertThatNullPointerException()
        .isThrownBy(() -> adapters.acquireAsync(nothing()))
        .withMessage("name must not be null");
    assertThatNullPointerException()
        .isThrownBy(() -> adapters.acquire("a", nothing()))
        .withMessage("timeout must not be null");
    assertThatIllegalArgumentException()
        .isThrownBy(() -> adapters.acquire("a", Duration.ZERO))
        .withMessage("timeout must be positive, got PT0S");
    assertThatIllegalArgumentException()
        .isThrownBy(() -> CacheLimits.of(-1))
        .withMessage("hostBytes must be in [0, 9223372036854775807], got -1");
    assertThatIllegalArgumentException()
        .isThrownBy(() -> CacheLimits.of(1).withReaders(65))
        .withMessage("readers must be in [1, 64], got 65");
    assertThatIllegalArgumentException()
        .isThrownBy(() -> CacheLimits.of(1).withMaxWaiting(0))
        .withMessage("maxWaiting must be in [1, 2147483647], got 0");
    assertThatIllegalArgumentException()
        .isThrownBy(() -> CacheLimits.of(1).withMaxPassed(0))
        .withMessage("maxPassed must be in [1, 2147483647], got 0");
    assertThatIllegalArgumentException()
        .isThrownBy(() -> CacheLimits.of(1).withMaxWait(Duration.ofSeconds(-1)))
        .withMessage("maxWait must be positive, got PT-1S");
    assertThatNullPointerException()
        .isThrownBy(() -> new AdapterCache(nothing(), source, CacheLimits.of(1)))
        .withMessage("lora must not be null");
    assertThatNullPointerException()
        .isThrownBy(() -> new AdapterCache(lora, nothing(), CacheLimits.of(1)))
        .withMessage("source must not be null");
  }

  /** What callers without null checks of their own may pass. */
  @SuppressWarnings({"NullAway", "TypeParameterUnusedInFormals"})
  private static <T> T nothing() {
    return null;
  }
}
