package io.github.moelora.cli;

import io.github.moelora.LoraAdapter;
import io.github.moelora.MoeModel;
import io.github.moelora.gguf.GgufAdapter;
import io.github.moelora.peft.PeftAdapter;
import io.github.moelora.peft.ReadOptions;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;

/** An adapter as users name it: a PEFT folder or a GGUF file. */
sealed interface AdapterFile extends AutoCloseable {

  /**
   * Opens either.
   *
   * @param argument name of the argument for the message
   * @param options what is known of a PEFT folder; a GGUF file leaves nothing open
   * @throws IllegalArgumentException if there is neither
   * @throws IOException if it cannot be read
   */
  static AdapterFile open(String argument, Path path, ReadOptions options) throws IOException {
    if (Files.isDirectory(path)) {
      return new Peft(PeftAdapter.open(path, options));
    }
    if (!Files.isRegularFile(path) || path.toString().endsWith(".safetensors")) {
      throw new IllegalArgumentException(
          "%s must be a folder with adapter_config.json, or a GGUF file, got %s"
              .formatted(argument, path));
    }
    return new Gguf(GgufAdapter.open(path));
  }

  /** The file that holds the weights. */
  Path file();

  /** Whether it has weights of routed experts. */
  boolean hasExperts();

  /** What the user must know before the first token. */
  List<String> warnings();

  /**
   * The adapter for a model.
   *
   * @throws io.github.moelora.AdapterFormatException if the file is refused
   */
  LoraAdapter toLoraAdapter(MoeModel model);

  /**
   * Reads every weight.
   *
   * @throws io.github.moelora.AdapterFormatException if one is not finite
   */
  void checkWeights();

  @Override
  void close();

  /** A PEFT folder. */
  record Peft(PeftAdapter adapter) implements AdapterFile {
    @Override
    public Path file() {
      return adapter.file();
    }

    @Override
    public boolean hasExperts() {
      return !adapter.entries().isEmpty();
    }

    @Override
    public List<String> warnings() {
      return adapter.warnings();
    }

    @Override
    public LoraAdapter toLoraAdapter(MoeModel model) {
      return adapter.toLoraAdapter(model);
    }

    @Override
    public void checkWeights() {
      adapter.checkWeights();
    }

    @Override
    public void close() {
      adapter.close();
    }
  }

  /** A GGUF file. */
  record Gguf(GgufAdapter adapter) implements AdapterFile {
    @Override
    public Path file() {
      return adapter.file();
    }

    @Override
    public boolean hasExperts() {
      return !adapter.entries().isEmpty();
    }

    @Override
    public List<String> warnings() {
      List<String> norms = adapter.ignoredTensors();
      return norms.isEmpty()
          ? List.of()
          : List.of(
              "%d tensors of norms are left out, as llama.cpp does; the first is %s"
                  .formatted(norms.size(), norms.getFirst()));
    }

    @Override
    public LoraAdapter toLoraAdapter(MoeModel model) {
      try {
        return adapter.toLoraAdapter(model);
      } catch (IllegalArgumentException e) {
        // names the tensor, if a weight is not finite
        adapter.checkWeights();
        throw e;
      }
    }

    @Override
    public void checkWeights() {
      adapter.checkWeights();
    }

    @Override
    public void close() {
      adapter.close();
    }
  }
}
