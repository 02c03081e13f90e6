package io.github.moelora.bench;

/** Where x and y of a benchmark lie. */
public enum StepMemory {
  /** Off the heap. */
  NATIVE,
  /** In arrays of their type: {@code float[]}, or {@code short[]} for 16 bits. */
  ARRAY,
  /** In arrays of bytes. */
  BYTES
}
