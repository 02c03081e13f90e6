package io.github.moelora.cache;

import static org.assertj.core.api.Assertions.assertThat;

import io.github.moelora.cache.Entry.Stage;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Random;
import java.util.Set;
import net.jqwik.api.ForAll;
import net.jqwik.api.Property;

/**
 * Random histories of requests, changes, failures and ends against a naive model: what each slot
 * holds, which leases are open, and who waits. The threads' part is played by the test, in any
 * order.
 */
class CacheStateTest {
  private static final int NAMES = 7;

  /** What a slot holds and how often it is leased, according to what was reported. */
  private static final class ModelSlot {
    String name = "";
    int version = -1;
    int leases;
    boolean loading;
  }

  /** One history. */
  private static final class History {
    final Random random;
    final CacheLimits limits;
    final CacheState state;
    final ModelSlot[] slots;
    final Map<String, Integer> versions = new HashMap<>();
    final List<Effect.Read> reads = new ArrayList<>();
    final List<Effect.Load> loads = new ArrayList<>();
    final List<Entry> leased = new ArrayList<>();

    /** Requests that wait, with the version that the file had when they came. */
    final Map<Request, Integer> waiting = new LinkedHashMap<>();

    final Set<Arena> open = new HashSet<>();
    String pinned = "";
    int made;

    History(long seed) {
      random = new Random(seed);
      int slotCount = 1 + random.nextInt(4);
      limits =
          new CacheLimits(
              random.nextInt(5) * FakeSource.BYTES,
              1 + random.nextInt(3),
              1 + random.nextInt(6),
              Duration.ofSeconds(1),
              1 + random.nextInt(4));
      state = new CacheState(slotCount, limits);
      slots = new ModelSlot[slotCount];
      for (int slot = 0; slot < slotCount; slot++) {
        slots[slot] = new ModelSlot();
      }
    }

    int version(String name) {
      return versions.getOrDefault(name, 0);
    }

    void act() {
      String name = "n" + random.nextInt(NAMES);
      switch (random.nextInt(12)) {
        case 0, 1, 2, 3 -> request(name);
        case 4, 5 -> endRead(random.nextInt(8) == 0);
        case 6, 7 -> endLoad(random.nextInt(8) == 0);
        case 8, 9 -> release();
        case 10 -> withdraw();
        default -> change(name);
      }
      follow();
      check();
    }

    void request(String name) {
      int version = version(name);
      Entry entry = state.leaseNow(name, version);
      // the slots that this freed are known before the lease is judged
      follow();
      if (entry != null) {
        granted(entry, version);
        return;
      }
      Request request = new Request(name, 0, false);
      boolean accepted = state.enqueue(request, version);
      assertThat(accepted).isEqualTo(waiting.size() < limits.maxWaiting());
      if (accepted) {
        waiting.put(request, version);
      }
    }

    void granted(Entry entry, int atLeast) {
      ModelSlot slot = slots[entry.slot];
      assertThat(slot.loading).isFalse();
      assertThat(slot.name).isEqualTo(entry.name);
      assertThat(slot.version).isGreaterThanOrEqualTo(atLeast);
      slot.leases++;
      leased.add(entry);
    }

    void endRead(boolean failed) {
      if (reads.isEmpty()) {
        return;
      }
      Entry entry = reads.remove(random.nextInt(reads.size())).entry();
      if (failed) {
        state.readFailed(entry, new IOException("broken"));
        return;
      }
      Arena arena = newArena();
      // the file may have changed since the request, so the label is the request's or newer
      String label = entry.name + "@" + version(entry.name);
      state.read(entry, FakeSource.adapter(label, arena), arena);
      assertThat(entry.stage).isIn(Stage.READ, Stage.LOADING, Stage.GONE);
    }

    @SuppressWarnings("MustBeClosedChecker") // closed when the state hands it back
    private Arena newArena() {
      made++;
      Arena arena = Arena.ofShared();
      open.add(arena);
      return arena;
    }

    void endLoad(boolean failed) {
      if (loads.isEmpty()) {
        return;
      }
      Effect.Load load = loads.remove(random.nextInt(loads.size()));
      Entry entry = load.entry();
      ModelSlot slot = slots[entry.slot];
      // packing reads the weights, which the host tier must not have freed
      String label = load.held().adapter().name();
      load.held().adapter().copyTo(Arena.ofAuto());
      slot.loading = false;
      if (failed) {
        slot.name = "";
        state.loadFailed(entry, new IllegalStateException("no room"));
        return;
      }
      slot.name = entry.name;
      slot.version = Integer.parseInt(label.substring(label.indexOf('@') + 1));
      state.loaded(entry, FakeSource.BYTES);
    }

    void release() {
      if (!leased.isEmpty()) {
        Entry entry = leased.remove(random.nextInt(leased.size()));
        slots[entry.slot].leases--;
        state.release(entry);
      }
    }

    void withdraw() {
      if (!waiting.isEmpty()) {
        List<Request> requests = new ArrayList<>(waiting.keySet());
        Request request = requests.get(random.nextInt(requests.size()));
        waiting.remove(request);
        assertThat(state.withdraw(request, random.nextBoolean())).isTrue();
        assertThat(state.withdraw(request, false)).isFalse();
      }
    }

    void change(String name) {
      switch (random.nextInt(4)) {
        case 0 -> versions.merge(name, 1, Integer::sum);
        case 1 -> state.invalidate(name);
        case 2 -> {
          state.unpin(pinned);
          pinned = "";
        }
        default -> {
          if (pinned.isEmpty() && slots.length > 1) {
            assertThat(state.pin(name)).isTrue();
            assertThat(state.pin(name)).isFalse();
            pinned = name;
          }
        }
      }
    }

    /** Notes the effects in their order, as the threads would. */
    void follow() {
      for (Effect effect : state.takeEffects()) {
        switch (effect) {
          case Effect.Read read -> reads.add(read);
          case Effect.Load load -> {
            ModelSlot slot = slots[load.entry().slot];
            // never over an adapter in use
            assertThat(slot.leases).isZero();
            assertThat(slot.loading).isFalse();
            slot.loading = true;
            loads.add(load);
          }
          case Effect.Grant grant -> {
            assertThat(waiting).containsKey(grant.request());
            granted(grant.entry(), Objects.requireNonNull(waiting.remove(grant.request())));
          }
          case Effect.Fail fail -> assertThat(waiting.remove(fail.request())).isNotNull();
          case Effect.Evicted evicted -> {
            assertThat(slots[evicted.slot()].leases).isZero();
            assertThat(slots[evicted.slot()].name).isEqualTo(evicted.name());
            slots[evicted.slot()].name = "";
          }
        }
      }
      for (Arena arena : state.takeUnused()) {
        assertThat(open.remove(arena)).isTrue();
        arena.close();
      }
    }

    void check() {
      CacheStats stats = state.stats();
      assertThat(stats.waiting()).isEqualTo(waiting.size());
      assertThat(stats.leases()).isEqualTo(leased.size());
      assertThat(stats.hostBytes()).isBetween(0L, limits.hostBytes());
      assertThat(reads.size()).isLessThanOrEqualTo(limits.readers());
      int used = 0;
      for (ModelSlot slot : slots) {
        used += slot.loading || !slot.name.isEmpty() ? 1 : 0;
      }
      assertThat(stats.resident() + loads.size()).isEqualTo(used);
      // somebody who waits, waits for something
      if (!waiting.isEmpty() && reads.isEmpty() && loads.isEmpty()) {
        int free = 0;
        for (ModelSlot slot : slots) {
          free += slot.leases == 0 && !slot.name.equals(pinned) ? 1 : 0;
        }
        assertThat(free).as("free slots while requests wait").isZero();
      }
    }

    /** All threads come to an end and all leases are closed: then nobody waits. */
    void finish() {
      state.unpin(pinned);
      follow();
      for (int i = 0; i < 10_000 && !(waiting.isEmpty() && leased.isEmpty()); i++) {
        endRead(false);
        follow();
        endLoad(false);
        follow();
        release();
        follow();
      }
      assertThat(waiting).isEmpty();
      assertThat(leased).isEmpty();
      while (!reads.isEmpty() || !loads.isEmpty()) {
        endRead(false);
        follow();
        endLoad(false);
        follow();
      }
      check();
      state.close();
      state.clearHost();
      follow();
      assertThat(open).isEmpty();
    }
  }

  @Property(tries = 400)
  void randomHistoriesKeepTheRules(@ForAll long seed) {
    History history = new History(seed);
    for (int i = 0; i < 120; i++) {
      history.act();
    }
    history.finish();
    assertThat(history.made).isEqualTo((int) history.state.stats().reads());
  }
}
