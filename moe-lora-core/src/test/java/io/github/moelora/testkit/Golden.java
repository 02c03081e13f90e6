package io.github.moelora.testkit;

import io.github.moelora.GateUp;
import io.github.moelora.MoeModel;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.URI;
import java.net.URISyntaxException;
import java.net.URL;
import java.nio.file.FileSystem;
import java.nio.file.FileSystems;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.stream.Stream;

/** The golden data among the test resources, made by PEFT 0.21 on tiny random models. */
public final class Golden {
  /** Tokens of every golden batch. */
  public static final int TOKENS = 37;

  /** Experts per token of every golden model. */
  public static final int EXPERTS_PER_TOKEN = 2;

  private static final Map<String, Path> DIRECTORIES = new ConcurrentHashMap<>();

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

  /** Adapters of all golden models, by their models and the names of their directories. */
  public static Stream<Adapter> adapters() {
    return models().stream()
        .flatMap(
            model ->
                model.adapters().stream()
                    .map(directory -> new Adapter(model, directory.getFileName().toString())));
  }

  /** An adapter of a golden model. */
  public record Adapter(Model model, String name) {}

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
    return resource("/golden/" + name);
  }

  /** A directory among the resources, as one of files. */
  static Path resource(String name) {
    return DIRECTORIES.computeIfAbsent(name, Golden::find);
  }

  private static Path find(String name) {
    URL url = Golden.class.getResource(name);
    if (url == null) {
      throw new IllegalStateException(name + " must be among the resources");
    }
    try {
      return url.getProtocol().equals("jar") ? unpacked(url.toURI()) : Path.of(url.toURI());
    } catch (URISyntaxException e) {
      throw new IllegalStateException(e);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /** A copy outside of the jar, as files in it cannot be mapped. */
  private static Path unpacked(URI directory) throws IOException {
    Path copy = Files.createTempDirectory("golden");
    try (FileSystem jar = FileSystems.newFileSystem(directory, Map.of())) {
      Path root = jar.provider().getPath(directory);
      try (Stream<Path> files = Files.walk(root)) {
        for (Path file : (Iterable<Path>) files::iterator) {
          Path to = copy.resolve(root.relativize(file).toString());
          if (Files.isDirectory(file)) {
            Files.createDirectories(to);
          } else {
            Files.copy(file, to);
          }
          to.toFile().deleteOnExit();
        }
      }
    }
    return copy;
  }

  private static List<Path> subdirectories(Path directory) {
    try (Stream<Path> files = Files.list(directory)) {
      return files.filter(Files::isDirectory).sorted().toList();
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }
}
