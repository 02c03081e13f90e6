package io.github.moelora.gpullama3;

/** Random numbers by index, the same on every machine and from any thread. */
final class Noise {
  private Noise() {}

  /** 64 random bits: SplitMix64's output function of {@code seed} and {@code index}. */
  static long bits(long seed, long index) {
    long z = seed + (index + 1) * 0x9E3779B97F4A7C15L;
    z = (z ^ (z >>> 30)) * 0xBF58476D1CE4E5B9L;
    z = (z ^ (z >>> 27)) * 0x94D049BB133111EBL;
    return z ^ (z >>> 31);
  }

  /** A number in {@code [-1, 1)}. */
  static double uniform(long seed, long index) {
    return (bits(seed, index) >> 11) * 0x1p-52;
  }

  /** A seed of its own for each name. */
  static long seed(long seed, String name) {
    long hash = seed;
    for (int i = 0; i < name.length(); i++) {
      hash = bits(hash, name.charAt(i));
    }
    return hash;
  }
}
