package io.github.moelora.testkit;

import io.github.moelora.GateUp;
import io.github.moelora.MoeModel;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.URISyntaxException;
import java.net.URL;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.Stream;

/** The golden data among the test resources, made by PEFT 0.21 on tiny random models. */
public final class Golden {
  /** Tokens of every golden batch. */
  public static final int TOKENS = 37;

  /** Experts per token of every golden model. */
  public static final int EXPERTS_PER_TOKEN = 2;

  private Golden() {}

  /** All golden models. */
  public static List<Model> models() {
    return List.of(
        new Model("qwen3moe", new MoeModel(64, 48, 6, GateUp.HALVES, List.of(0, 1))),
        square(),
        new Model("mixtral", new MoeModel(96, 80, 4, GateUp.HALVES, List.of(0))));
  }

  /** The model with {@code I = H}, of which the damaged adapters are made. */
  public static Model square() {
    return new Model("qwen3moe_square", new MoeModel(64, 64, 4, GateUp.HALVES, List.of(0)));
  }

  /** A golden model. */
  public record Model(String name, MoeModel shape) {

    public Path directory() {
      return Golden.directory(name);
    }

    /** Directories of all adapters, in the order of their names. */
    public List<Path> adapters() {
      return subdirectories(directory());
    }

    /** Inputs and expected results. */
    public Tensors tensors() throws IOException {
      return Tensors.read(directory().resolve("golden.safetensors"));
    }

    @Override
    public String toString() {
      return name;
    }
  }

  /** Directories of the damaged adapters; all are made from adapters of the square model. */
  public static List<Path> hostile() {
    return subdirectories(directory("hostile"));
  }

  private static Path directory(String name) {
    URL url = Golden.class.getResource("/golden/" + name);
    if (url == null) {
      throw new IllegalStateException("/golden/%s must be among the resources".formatted(name));
    }
    try {
      return Path.of(url.toURI());
    } catch (URISyntaxException e) {
      throw new IllegalStateException(e);
    }
  }

  private static List<Path> subdirectories(Path directory) {
    try (Stream<Path> files = Files.list(directory)) {
      return files.filter(Files::isDirectory).sorted().toList();
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }
}
