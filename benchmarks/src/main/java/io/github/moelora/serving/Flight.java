package io.github.moelora.serving;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Instant;
import java.util.List;
import jdk.jfr.Recording;
import jdk.jfr.consumer.RecordedEvent;
import jdk.jfr.consumer.RecordingFile;

/**
 * A recording of what Flight Recorder tells of loads beside steps. It goes on through all runs that
 * are compared, so that it costs them the same.
 */
final class Flight implements AutoCloseable {
  private static final String LOAD = "io.github.moelora.AdapterLoad";
  private static final String HOLD = "io.github.moelora.DeviceHold";
  private static final String WAIT = "io.github.moelora.DeviceWait";
  private static final String PAUSE = "jdk.GCPhasePause";

  /**
   * Durations of one kind of event, in nanoseconds.
   *
   * @param sum of all
   * @param p99 99 % are at most so long
   */
  record Durations(int count, long sum, long p99) {
    static final Durations NONE = new Durations(0, 0, 0);

    static Durations of(List<RecordedEvent> events, String name) {
      long[] nanos =
          events.stream()
              .filter(event -> event.getEventType().getName().equals(name))
              .mapToLong(event -> event.getDuration().toNanos())
              .sorted()
              .toArray();
      long sum = 0;
      for (long each : nanos) {
        sum += each;
      }
      return nanos.length == 0
          ? NONE
          : new Durations(nanos.length, sum, nanos[(int) Math.round(0.99 * (nanos.length - 1))]);
    }
  }

  /**
   * What was recorded.
   *
   * @param loads of adapters into slots, packing included
   * @param holds times for which loads had a TornadoVM device alone
   * @param waits of runs for the device
   * @param pauses of the garbage collector
   */
  record Times(Durations loads, Durations holds, Durations waits, Durations pauses) {}

  private final Recording recording = new Recording();

  private Flight() {
    for (String name : List.of(LOAD, HOLD, WAIT, PAUSE)) {
      recording.enable(name).withoutThreshold().withoutStackTrace();
    }
    recording.start();
  }

  /** Whether there is a recorder: a runtime image may be without the module jdk.jfr. */
  static boolean isPresent() {
    return ModuleLayer.boot().findModule("jdk.jfr").isPresent();
  }

  /** Records from now on. */
  static Flight start() {
    return new Flight();
  }

  /** What happened between two times. */
  Times times(Instant begin, Instant end) throws IOException {
    Path file = Files.createTempFile("serving-load", ".jfr");
    try {
      recording.dump(file);
      List<RecordedEvent> events =
          RecordingFile.readAllEvents(file).stream()
              .filter(event -> !event.getStartTime().isBefore(begin))
              .filter(event -> !event.getEndTime().isAfter(end))
              .toList();
      return new Times(
          Durations.of(events, LOAD),
          Durations.of(events, HOLD),
          Durations.of(events, WAIT),
          Durations.of(events, PAUSE));
    } finally {
      Files.delete(file);
    }
  }

  @Override
  public void close() {
    recording.close();
  }
}
