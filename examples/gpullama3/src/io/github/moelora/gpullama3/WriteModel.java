package io.github.moelora.gpullama3;

import java.io.IOException;
import java.nio.file.Path;

/** Writes a model: {@code WriteModel FILE SHAPE}, the shape tiny or full. */
public final class WriteModel {
  private WriteModel() {}

  /** Prints its size. */
  public static void main(String[] args) throws IOException {
    long start = System.nanoTime();
    long bytes = new ModelFile(Shape.named(args[1]), CheckEngine.SEED).write(Path.of(args[0]));
    System.out.printf(
        "%s: %.1f GB in %.0f s%n", args[0], bytes / 1e9, (System.nanoTime() - start) / 1e9);
  }
}
