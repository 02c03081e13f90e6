package io.github.moelora.gpullama3;

import io.github.moelora.DType;
import io.github.moelora.MoeLora;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.peft.PeftAdapter;
import java.io.IOException;
import java.nio.file.Path;
import java.util.List;

/**
 * Whether the engine with adapters computes what the float64 model does: {@code CheckAdapters
 * FOLDER [WEIGHT_TYPE]}. Requests take turns with three adapters and none; one adapter replaces
 * another, one goes, and a request changes its own while the engine runs.
 */
public final class CheckAdapters {
  private CheckAdapters() {}

  /** Exits with 1 if not. */
  public static void main(String[] args) throws IOException {
    Shape shape = Shape.TINY;
    Path folder = Path.of(args[0]);
    DType type = args.length > 1 ? DType.valueOf(args[1]) : DType.F32;
    ModelFile model = new ModelFile(shape, CheckEngine.SEED);
    model.write(folder.resolve("tiny.gguf"));
    List<RandomAdapter> adapters =
        List.of(
            new RandomAdapter(shape, new RandomAdapter.Config("r8", 8, 16, false, expert -> true)),
            new RandomAdapter(
                shape, new RandomAdapter.Config("r16-partial", 16, 16, false, e -> e % 3 != 1)),
            new RandomAdapter(
                shape, new RandomAdapter.Config("r16-rslora", 16, 8, true, expert -> true)));
    MoeLoraConfig config =
        MoeLoraConfig.of(shape.moeModel(), 3, shape.perToken())
            .withMaxTokens(1)
            .withMaxRank(16)
            .withWeightType(type);
    boolean right;
    try (MoeLora lora = MoeLora.open(config, "tornado")) {
      Engine engine = Engine.load(folder.resolve("tiny.gguf"), shape.context());
      Adapters inside = new Adapters(lora);
      engine.state().adapters = inside;
      engine.start();
      System.out.printf("adapters in %s on %s%n", type, lora.device());
      Requests requests = new Requests(shape, engine, new Reference(shape, model));
      requests.run(null); // before any is loaded
      for (int slot = 0; slot < adapters.size(); slot++) {
        load(lora, slot, adapters.get(slot), folder);
      }
      for (int slot : new int[] {0, 1, -1, 2, 0}) {
        inside.use(slot);
        requests.run(slot < 0 ? null : adapters.get(slot));
      }
      requests.run(
          adapters.get(0),
          6, // what was cached under the first adapter is read under the second
          () -> {
            inside.use(1);
            return adapters.get(1);
          });
      inside.use(0);
      load(lora, 0, adapters.get(2), folder); // in place of another
      requests.run(adapters.get(2));
      lora.unload(0);
      requests.run(null); // its slot is empty now
      engine.close();
      right = requests.finish();
    }
    System.exit(right ? 0 : 1);
  }

  private static void load(MoeLora lora, int slot, RandomAdapter adapter, Path folder)
      throws IOException {
    Path own = folder.resolve(adapter.name());
    adapter.write(own);
    try (PeftAdapter file = PeftAdapter.open(own)) {
      lora.load(slot, file.toLoraAdapter(lora.config().model()));
    }
  }
}
