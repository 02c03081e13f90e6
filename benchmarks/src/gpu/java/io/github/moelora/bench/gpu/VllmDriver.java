package io.github.moelora.bench.gpu;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/** Runs a Python program of {@code scripts} that measures vLLM and prints a JSON object a line. */
final class VllmDriver {
  private final List<String> command = new ArrayList<>();

  /** Takes in a line. */
  interface Lines {
    void add(String line) throws IOException;
  }

  /**
   * @param program file name in {@code scripts}
   * @param vllm file or folder of vLLM, the first argument
   */
  VllmDriver(String program, Path vllm) {
    Path scripts = Path.of(System.getProperty("moelora.bench.scripts", "scripts"));
    command.add(System.getenv().getOrDefault("PYTHON", "python3"));
    command.add(scripts.resolve(program).toString());
    command.add(vllm.toString());
  }

  /** Adds an option with its values. */
  VllmDriver with(String option, List<?> values) {
    command.add(option);
    values.forEach(value -> command.add(value.toString()));
    return this;
  }

  /**
   * Runs the program to its end; its lines are shown, too.
   *
   * @return its exit code
   */
  int run(Lines lines) throws IOException, InterruptedException {
    Process process =
        new ProcessBuilder(command).redirectError(ProcessBuilder.Redirect.INHERIT).start();
    try (BufferedReader reader =
        new BufferedReader(
            new InputStreamReader(process.getInputStream(), StandardCharsets.UTF_8))) {
      for (String line = reader.readLine(); line != null; line = reader.readLine()) {
        System.err.println("vLLM: " + line);
        lines.add(line);
      }
    } finally {
      process.destroy();
    }
    return process.waitFor();
  }
}
