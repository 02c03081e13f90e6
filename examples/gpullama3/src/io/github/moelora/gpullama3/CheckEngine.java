package io.github.moelora.gpullama3;

import java.io.IOException;
import java.nio.file.Path;

/** Whether the engine alone computes what the float64 model does: {@code CheckEngine FOLDER}. */
public final class CheckEngine {
  /** Seed of the tiny model. */
  static final long SEED = 21;

  private CheckEngine() {}

  /** Exits with 1 if not. */
  public static void main(String[] args) throws IOException {
    Shape shape = Shape.TINY;
    Path file = Path.of(args[0], "tiny.gguf");
    ModelFile model = new ModelFile(shape, SEED);
    model.write(file);
    Engine engine = Engine.load(file, shape.context());
    engine.start();
    Requests requests = new Requests(shape, engine, new Reference(shape, model));
    requests.run(null);
    requests.run(null);
    engine.close();
    System.exit(requests.finish() ? 0 : 1);
  }
}
