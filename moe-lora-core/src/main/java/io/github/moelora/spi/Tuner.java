package io.github.moelora.spi;

import io.github.moelora.LoraAdapter;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.nio.file.Path;
import java.util.List;

/**
 * Measures on one device and for one shape how batches are computed fastest. Load adapters, measure
 * batches of many sizes, then write what was found. Used by one thread.
 */
public interface Tuner extends AutoCloseable {

  /** Name of the device, for people. */
  String device();

  /** How a user tells the backend to read a file that {@link #write} wrote, such as a JVM flag. */
  String usage(Path file);

  /**
   * Loads an adapter to measure with.
   *
   * @param slot in {@code [0, L)}
   */
  void load(int slot, LoraAdapter adapter);

  /**
   * Times every choice that a batch leaves, and remembers the times.
   *
   * @param tokens {@code T}
   * @param expertIds in, int32 {@code [T, K]}, as {@link io.github.moelora.Step#plan} takes them
   * @param routingWeights in, float32 {@code [T, K]}
   * @param adapterIds in, int32 {@code [T]}
   */
  Measurement measure(
      int tokens, MemorySegment expertIds, MemorySegment routingWeights, MemorySegment adapterIds);

  /**
   * Writes the choices that the measurements so far speak for, where they differ from what is built
   * in by more than noise.
   *
   * @throws IllegalStateException before the first measurement
   */
  void write(Path file) throws IOException;

  /** Frees all memory; closing twice does nothing. */
  @Override
  void close();

  /**
   * Times of one batch.
   *
   * @param activePairs pairs with work
   * @param groups (adapter, expert) combinations with at least one pair
   * @param choices at least one
   */
  record Measurement(int activePairs, int groups, List<Choice> choices) {
    public Measurement {
      choices = List.copyOf(choices);
    }
  }

  /**
   * One way to compute a batch.
   *
   * @param name for people, the same for every batch
   * @param nanos time of both projections of a layer
   * @param builtIn whether the backend chooses it without measurements
   */
  record Choice(String name, double nanos, boolean builtIn) {}
}
