package io.github.moelora.testkit;

import static org.assertj.core.api.Assertions.assertThat;

import io.github.moelora.DType;
import io.github.moelora.DenseModule;
import io.github.moelora.LoraAdapter;
import io.github.moelora.LoraSlice;
import io.github.moelora.Matrix;
import io.github.moelora.MoeLora;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.MoeModel;
import io.github.moelora.Projection;
import io.github.moelora.ProjectionCall;
import io.github.moelora.Step;
import io.github.moelora.peft.PeftAdapter;
import io.github.moelora.reference.Reference;
import io.github.moelora.spi.BackendProvider;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.TreeMap;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;

/**
 * The whole adapters of {@link GoldenFamilies}, each in a slot of its own, in one batch: every
 * backend adds to experts and to linear layers outside them what PEFT's weights would.
 *
 * <p>One instance serves all families, whose routed experts are of the same sizes: its dense
 * modules are counted by their widths, and the first of some widths stands for the first of these
 * widths in each family.
 */
public abstract class GoldenFamiliesContractTest {
  private static final int EXPERTS_PER_TOKEN = 2;

  /** The backend under test. */
  protected abstract BackendProvider provider();

  /** An adapter of a family, and which of the instance's modules stand for its own. */
  private record Entry(
      GoldenFamilies.Family family,
      String adapter,
      Map<String, String> modules,
      LoraAdapter weights) {}

  /** What a call of the batch must give. */
  private interface Weights {
    /** PEFT's delta of a pair; null for none. */
    Tensors.@Nullable Tensor of(Entry entry);
  }

  private final Random random = new Random(Seeds.of("golden families"));
  private final List<Entry> entries = new ArrayList<>();

  @Test
  void everyAdapterAddsWhatPeftAdds() throws IOException {
    List<GoldenFamilies.Family> families = GoldenFamilies.all();
    Map<String, DenseModule> dense = new TreeMap<>();
    List<PeftAdapter> files = new ArrayList<>();
    try {
      for (GoldenFamilies.Family family : families) {
        Map<String, String> modules = modules(family, dense);
        for (String name : GoldenFamilies.ADAPTERS) {
          files.add(PeftAdapter.open(family.adapter(name)));
          LoraAdapter whole = files.getLast().toLoraAdapter(family.shape());
          entries.add(new Entry(family, name, modules, renamed(whole, family, modules)));
        }
      }
      MoeModel model = families.getFirst().shape().withDense(List.copyOf(dense.values()));
      int maxRank = entries.stream().mapToInt(each -> each.weights.maxRank()).max().orElseThrow();
      MoeLoraConfig config =
          MoeLoraConfig.of(model, entries.size(), EXPERTS_PER_TOKEN)
              .withMaxTokens(entries.size() + 1)
              .withMaxRank(maxRank);
      try (MoeLora lora = MoeLora.open(config, provider());
          Step step = lora.newStep()) {
        for (int slot = 0; slot < entries.size(); slot++) {
          lora.load(slot, entries.get(slot).weights);
        }
        checkExperts(model, step);
        checkDense(model, step);
      }
    } finally {
      files.forEach(PeftAdapter::close);
    }
  }

  /** Names of the instance's modules by those of a family, and enters what is not there yet. */
  private static Map<String, String> modules(
      GoldenFamilies.Family family, Map<String, DenseModule> dense) throws IOException {
    Map<String, String> modules = new TreeMap<>();
    Map<String, Integer> counts = new TreeMap<>();
    for (String name : GoldenFamilies.ADAPTERS) {
      try (PeftAdapter file = PeftAdapter.open(family.adapter(name))) {
        for (String module : file.toLoraAdapter(family.shape()).modules()) {
          Tensors.Tensor delta = family.delta(name, module);
          assertThat(delta).as("%s, %s, %s", family, name, module).isNotNull();
          if (delta != null && !modules.containsKey(module)) {
            int out = delta.shape()[0];
            int in = delta.shape()[1];
            String widths = "%d to %d".formatted(in, out);
            String ours = widths + ", " + counts.merge(widths, 1, Integer::sum);
            modules.put(module, ours);
            dense.putIfAbsent(ours, new DenseModule(ours, in, out));
          }
        }
      }
    }
    return modules;
  }

  private static LoraAdapter renamed(
      LoraAdapter adapter, GoldenFamilies.Family family, Map<String, String> modules) {
    LoraAdapter.Builder builder = LoraAdapter.builder(family + " " + adapter.name());
    for (int layer : adapter.layers()) {
      for (Projection projection : Projection.values()) {
        for (int expert = 0; expert < family.shape().experts(); expert++) {
          for (LoraSlice slice : adapter.slices(layer, projection, expert)) {
            builder.add(layer, projection, expert, slice);
          }
        }
      }
    }
    for (String module : adapter.modules()) {
      for (LoraSlice slice : adapter.slices(module)) {
        builder.addDense(modules.getOrDefault(module, module), slice);
      }
    }
    return builder.build();
  }

  /** Token t has adapter t - 1, and meets two experts in each round. */
  private void checkExperts(MoeModel model, Step step) {
    int[] adapterIds = adapterIds();
    float[] routingWeights = new float[adapterIds.length * EXPERTS_PER_TOKEN];
    Arrays.fill(routingWeights, 0.5f);
    for (int first = 0; first < model.experts(); first += EXPERTS_PER_TOKEN) {
      int[] expertIds = new int[routingWeights.length];
      for (int p = 0; p < expertIds.length; p++) {
        expertIds[p] = first + (p + p / EXPERTS_PER_TOKEN) % EXPERTS_PER_TOKEN;
      }
      step.plan(
          adapterIds.length,
          MemorySegment.ofArray(expertIds),
          MemorySegment.ofArray(routingWeights),
          MemorySegment.ofArray(adapterIds));
      for (int layer : model.layers()) {
        for (Projection projection : Projection.values()) {
          ProjectionCall call = new ProjectionCall(layer, projection, true, false, false, 0);
          check(
              model,
              step,
              call,
              expertIds,
              entry ->
                  entry.family.shape().layers().contains(layer)
                      ? entry.family.delta(entry.adapter, layer, projection)
                      : null);
        }
      }
    }
  }

  private void checkDense(MoeModel model, Step step) {
    int[] adapterIds = adapterIds();
    step.planDense(adapterIds.length, MemorySegment.ofArray(adapterIds));
    for (DenseModule module : model.dense()) {
      check(
          model,
          step,
          ProjectionCall.dense(model.denseIndex(module.name())).deltaOnly(),
          new int[adapterIds.length],
          entry -> {
            for (Map.Entry<String, String> each : entry.modules.entrySet()) {
              if (each.getValue().equals(module.name())) {
                return entry.family.delta(entry.adapter, each.getKey());
              }
            }
            return null;
          });
    }
  }

  private int[] adapterIds() {
    int[] adapterIds = new int[entries.size() + 1];
    for (int t = 0; t < adapterIds.length; t++) {
      adapterIds[t] = t - 1;
    }
    return adapterIds;
  }

  private void check(
      MoeModel model, Step step, ProjectionCall call, int[] expertIds, Weights weights) {
    int pairs = expertIds.length;
    int in = model.inputWidth(call);
    int out = model.outputWidth(call);
    Matrix x = Matrix.ofFloats(pairs, in, new float[pairs * in]);
    for (int p = 0; p < pairs; p++) {
      for (int h = 0; h < in; h++) {
        x.set(p, h, (float) random.nextGaussian());
      }
    }
    float[] y = new float[pairs * out];
    Arrays.fill(y, Float.NaN);
    Matrix results = Matrix.of(MemorySegment.ofArray(y), DType.F32, pairs, out);
    int[] adapterIds = adapterIds();
    List<@Nullable LoraAdapter> adapters = new ArrayList<>();
    entries.forEach(entry -> adapters.add(entry.weights));
    float[] routingWeights = new float[pairs];
    double[][] bounds =
        Reference.compute(
                new Reference.Inputs(
                    model, call, adapters, expertIds, routingWeights, adapterIds, x, results))
            .bounds();
    step.run(call, x, results);
    for (int p = 0; p < pairs; p++) {
      int slot = adapterIds[p / (pairs / adapterIds.length)];
      Tensors.Tensor delta = slot < 0 ? null : weights.of(entries.get(slot));
      for (int c = 0; c < out; c++) {
        double expected = 0;
        for (int h = 0; h < in && delta != null; h++) {
          expected += delta.real((expertIds[p] * out + c) * in + h) * x.get(p, h);
        }
        // the scale is rounded to float32, which PEFT's is not
        double bound = bounds[p][c] + 0x1p-23 * Math.abs(expected);
        assertThat(Math.abs(y[p * out + c] - expected))
            .as("%s, adapter %s, pair %d, column %d", call, name(slot), p, c)
            .isLessThanOrEqualTo(bound);
      }
    }
  }

  private String name(int slot) {
    return slot < 0 ? "none" : entries.get(slot).weights.name();
  }
}
