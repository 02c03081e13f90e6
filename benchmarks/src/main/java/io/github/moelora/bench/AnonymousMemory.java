package io.github.moelora.bench;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;

/**
 * Looks every few milliseconds at the process's memory that no file backs: heap, pool, everything
 * but mapped files. Linux only.
 */
final class AnonymousMemory implements AutoCloseable {
  private static final Path STATUS = Path.of("/proc/self/status");
  private static final String FIELD = "RssAnon:";
  private static final long INTERVAL_MILLIS = 2;

  private final long before = bytes();
  private final Thread sampler = Thread.ofPlatform().daemon().unstarted(this::sample);
  private volatile boolean closed;
  private volatile long peak = before;

  AnonymousMemory() {
    sampler.start();
  }

  private void sample() {
    while (!closed) {
      peak = Math.max(peak, bytes());
      try {
        Thread.sleep(INTERVAL_MILLIS);
      } catch (InterruptedException e) {
        return;
      }
    }
  }

  private static long bytes() {
    try {
      for (String line : Files.readAllLines(STATUS)) {
        if (line.startsWith(FIELD)) {
          return 1024 * Long.parseLong(line.replaceAll("[^0-9]", ""));
        }
      }
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
    throw new IllegalStateException("%s must have a line %s".formatted(STATUS, FIELD));
  }

  /** The largest growth seen since this was made. */
  long peakBytes() {
    return peak - before;
  }

  @Override
  public void close() {
    closed = true;
  }
}
