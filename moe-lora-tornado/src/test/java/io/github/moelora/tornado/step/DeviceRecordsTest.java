package io.github.moelora.tornado.step;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.locks.ReentrantLock;
import jdk.jfr.Recording;
import jdk.jfr.consumer.RecordedEvent;
import jdk.jfr.consumer.RecordingFile;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Events of Flight Recorder about who has the device: off by default. */
@Tag("no-device")
class DeviceRecordsTest {
  private static final Duration HELD = Duration.ofMillis(30);

  @TempDir Path folder;

  /** A load that has the device for {@link #HELD}, and a run that waits for it meanwhile. */
  private List<RecordedEvent> record(String... names) throws Exception {
    Path file = folder.resolve("events.jfr");
    try (Recording recording = new Recording()) {
      for (String name : names) {
        recording.enable("io.github.moelora." + name).withoutThreshold();
      }
      recording.start();
      ReentrantLock turn = new ReentrantLock(true);
      Thread run =
          Thread.ofPlatform()
              .unstarted(
                  () -> {
                    DeviceRecords.await(turn);
                    turn.unlock();
                  });
      turn.lock();
      try {
        DeviceRecords.hold(
            () -> {
              run.start();
              while (!turn.hasQueuedThread(run)) {
                Thread.onSpinWait();
              }
              sleep();
            });
      } finally {
        turn.unlock();
      }
      run.join();
      recording.dump(file);
    }
    return events(file);
  }

  private static void sleep() {
    try {
      Thread.sleep(HELD);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }

  private static List<RecordedEvent> events(Path file) throws IOException {
    return RecordingFile.readAllEvents(file).stream()
        .filter(event -> event.getEventType().getName().startsWith("io.github.moelora."))
        .toList();
  }

  @Test
  void aRecordingHasNoneUnlessItAsks() throws Exception {
    assertThat(record()).isEmpty();
  }

  @Test
  void holdsAndWaitsLastAsLongAsTheyLast() throws Exception {
    List<RecordedEvent> events = record("DeviceHold", "DeviceWait");
    assertThat(events)
        .extracting(event -> event.getEventType().getName())
        .containsExactlyInAnyOrder("io.github.moelora.DeviceHold", "io.github.moelora.DeviceWait");
    // clocks of events tick in microseconds
    assertThat(events).allMatch(event -> event.getDuration().compareTo(HELD.minusMillis(1)) >= 0);
  }
}
