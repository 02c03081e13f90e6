package io.github.moelora;

/**
 * One of several equal parts of a model whose layers are spread over devices (tensor parallelism).
 * {@link MoeModel#shard} says what is cut, and how.
 *
 * @param index in {@code [0, of)}
 * @param of number of parts, at least 1
 */
public record Shard(int index, int of) {
  /** The only part of a model that is not spread. */
  public static final Shard WHOLE = new Shard(0, 1);

  /**
   * @throws IllegalArgumentException if {@code of} is below 1 or the index outside its range
   */
  public Shard {
    Checks.atLeast("of", of, 1);
    Checks.inRange("index", index, 0, of);
  }

  /** This part's share of a width; {@code name} is for the message. */
  int share(String name, int width) {
    if (width % of != 0) {
      throw new IllegalArgumentException(
          "%s must be a multiple of the %d shards, got %d".formatted(name, of, width));
    }
    return width / of;
  }
}
