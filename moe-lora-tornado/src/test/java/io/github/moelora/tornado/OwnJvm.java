package io.github.moelora.tornado;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.lang.management.ManagementFactory;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;

/** A main class in a JVM of its own, with this one's flags and more. */
final class OwnJvm implements AutoCloseable {
  private final Process process;
  private final CompletableFuture<String> output;

  private OwnJvm(Process process) {
    this.process = process;
    output =
        CompletableFuture.supplyAsync(
            () -> {
              try (InputStream in = process.getInputStream()) {
                return new String(in.readAllBytes(), StandardCharsets.UTF_8);
              } catch (IOException e) {
                throw new UncheckedIOException(e);
              }
            },
            reading -> Thread.ofPlatform().daemon().start(reading));
  }

  /** Starts it; several may run at the same time. */
  static OwnJvm start(Class<?> main, Map<String, String> environment, String... flags)
      throws IOException {
    List<String> command = new ArrayList<>();
    command.add(Path.of(System.getProperty("java.home"), "bin", "java").toString());
    command.addAll(ManagementFactory.getRuntimeMXBean().getInputArguments());
    command.addAll(List.of(flags));
    command.add("-cp");
    command.add(System.getProperty("java.class.path"));
    command.add(main.getName());
    ProcessBuilder builder = new ProcessBuilder(command).redirectErrorStream(true);
    builder.environment().putAll(environment);
    return new OwnJvm(builder.start());
  }

  /** Waits for its end, which must be a good one, and returns what it printed. */
  String output() throws InterruptedException {
    String printed = output.join();
    assertThat(process.waitFor()).as(printed).isZero();
    return printed;
  }

  /** Runs it to its end, see {@link #output}. */
  static String run(Class<?> main, Map<String, String> environment, String... flags)
      throws IOException, InterruptedException {
    try (OwnJvm jvm = start(main, environment, flags)) {
      return jvm.output();
    }
  }

  /** Ends it, if nobody has waited for that. */
  @Override
  public void close() {
    process.destroyForcibly();
  }
}
