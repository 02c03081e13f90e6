package io.github.moelora.example;

import static org.assertj.core.api.Assertions.assertThat;

import io.github.moelora.DType;
import io.github.moelora.LoraAdapter;
import io.github.moelora.Matrix;
import io.github.moelora.MoeLora;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.MoeModel;
import io.github.moelora.ProjectionCall;
import io.github.moelora.cache.AdapterCache;
import io.github.moelora.cache.AdapterSource;
import io.github.moelora.cache.CacheLimits;
import io.github.moelora.peft.PeftAdapter;
import io.github.moelora.reference.Reference;
import io.github.moelora.testkit.Golden;
import io.github.moelora.testkit.Seeds;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** The example of docs/serving.md: 80 requests over more adapters than slots, in float64. */
@Timeout(60)
class ServingTest {
  private static final int REQUESTS = 80;
  private static final int TOKENS = 5;
  private static final int SLOTS = 3;
  private static final Golden.Model MODEL = Golden.models().getFirst();

  @Test
  void everyAnswerIsThatOfItsAdapter() throws Exception {
    MoeModel model = MODEL.shape();
    List<String> names =
        MODEL.adapters().stream().map(path -> String.valueOf(path.getFileName())).toList();
    assertThat(names).hasSizeGreaterThan(3 * SLOTS);
    Random seeds = new Random(Seeds.of("serving"));
    MoeLoraConfig config = MoeLoraConfig.of(model, SLOTS, 2).withMaxTokens(64);
    // one of the adapters is on attention, too
    AdapterSource source =
        AdapterSource.directories(
            MODEL.directory(), file -> file.toLoraAdapter(model).withoutUnlisted(model));
    List<Future<?>> requests = new ArrayList<>();
    try (Arena arena = Arena.ofShared();
        MoeLora lora = MoeLora.open(config, "cpu");
        AdapterCache cache = new AdapterCache(lora, source, CacheLimits.of(1 << 20));
        BatchServer server = new BatchServer(lora, cache);
        ExecutorService threads = Executors.newVirtualThreadPerTaskExecutor()) {
      for (int i = 0; i < REQUESTS; i++) {
        Random random = new Random(seeds.nextLong());
        String name = names.get(random.nextInt(names.size()));
        requests.add(
            threads.submit(
                () -> {
                  check(server, name, read(name, arena), random);
                  return null;
                }));
      }
      for (Future<?> request : requests) {
        request.get();
      }
      assertThat(cache.stats().leases()).isZero();
      assertThat(cache.stats().loads()).isGreaterThanOrEqualTo(SLOTS);
    }
  }

  private static LoraAdapter read(String name, Arena arena) throws IOException {
    try (PeftAdapter file = PeftAdapter.open(MODEL.directory().resolve(name))) {
      return file.toLoraAdapter(MODEL.shape()).withoutUnlisted(MODEL.shape()).copyTo(arena);
    }
  }

  private static void check(BatchServer server, String name, LoraAdapter adapter, Random random)
      throws InterruptedException {
    MoeModel model = MODEL.shape();
    int[] experts = random.ints(0, model.experts()).distinct().limit(2).toArray();
    List<float[]> inputs = new ArrayList<>();
    for (int t = 0; t < TOKENS; t++) {
      float[] x = new float[model.hiddenSize()];
      for (int h = 0; h < x.length; h++) {
        x[h] = (float) random.nextGaussian();
      }
      inputs.add(x);
    }
    List<float[]> answers = server.request(name, inputs, experts);
    assertThat(answers).hasSize(TOKENS);
    int width = answers.getFirst().length / 2;
    for (int t = 0; t < TOKENS; t++) {
      Reference.Result expected =
          Reference.compute(
              new Reference.Inputs(
                  model,
                  ProjectionCall.gateUp(0),
                  List.of(adapter),
                  experts,
                  new float[2],
                  new int[] {0},
                  Matrix.ofFloats(1, model.hiddenSize(), inputs.get(t)),
                  Matrix.of(MemorySegment.ofArray(new float[2 * width]), DType.F32, 2, width)));
      for (int i = 0; i < 2 * width; i++) {
        double error = Math.abs(answers.get(t)[i] - expected.values()[i / width][i % width]);
        if (!(error <= expected.bounds()[i / width][i % width])) {
          throw new AssertionError(
              "%s, token %d, element %d: error %s".formatted(name, t, i, error));
        }
      }
    }
  }

  @Test
  void theDocumentedExampleIsTheOneThatRuns() throws Exception {
    Path here = Path.of("").toAbsolutePath();
    Path root = Files.exists(here.resolve("docs")) ? here : here.resolveSibling("");
    Path sources = root.resolve("moe-lora-core/src/test/java/io/github/moelora/example");
    List<String> example = Files.readAllLines(sources.resolve("BatchServer.java"));
    String page = Files.readString(root.resolve("docs").resolve("serving.md"));
    assertThat(page).contains("```java\n" + String.join("\n", example) + "\n```\n");
  }
}
