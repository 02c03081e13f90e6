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
import java.util.Collections;
import java.util.IdentityHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Random;
import java.util.Set;
import java.util.TreeMap;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;

/**
 * The whole adapters of {@link GoldenFamilies} in one batch: every backend adds to experts and to
 * linear layers outside them what PEFT's weights would.
 *
 * <p>Compiling a device's graphs takes longest, so one instance of one layer serves all: a slot
 * holds an adapter's weights of one layer, and the layer's dense modules are counted by their
 * widths, the first of some widths standing for the first of these widths in each family and layer.
 */
public abstract class GoldenFamiliesContractTest {
  private static final int EXPERTS_PER_TOKEN = 2;
  private static final int LAYERS = 2;
  private static final Pattern LAYER = Pattern.compile("layers\\.(\\d+)\\.");

  /** The backend under test. */
  protected abstract BackendProvider provider();

  /**
   * A layer of an adapter of a family.
   *
   * @param modules its linear layers outside the experts, by those of the instance
   * @param weights as the instance has them
   */
  private record Entry(
      GoldenFamilies.Family family,
      String adapter,
      int layer,
      Map<String, String> modules,
      LoraAdapter weights) {}

  /** What a call of the batch must give. */
  private interface Weights {
    /** PEFT's delta of a pair; null for none. */
    Tensors.@Nullable Tensor of(Entry entry);
  }

  private final Random random = new Random(Seeds.of("golden families"));
  private final List<Entry> entries = new ArrayList<>();
  private final Set<Tensors.Tensor> compared = Collections.newSetFromMap(new IdentityHashMap<>());

  @Test
  void everyAdapterAddsWhatPeftAdds() throws IOException {
    List<GoldenFamilies.Family> families = GoldenFamilies.all();
    Map<String, DenseModule> dense = new TreeMap<>();
    List<PeftAdapter> files = new ArrayList<>();
    try {
      for (GoldenFamilies.Family family : families) {
        for (String name : GoldenFamilies.ADAPTERS) {
          files.add(PeftAdapter.open(family.adapter(name)));
          LoraAdapter whole = files.getLast().toLoraAdapter(family.shape());
          for (int layer = 0; layer < LAYERS; layer++) {
            addEntry(family, name, layer, whole, dense);
          }
        }
      }
      MoeModel shape = families.getFirst().shape();
      MoeModel model =
          new MoeModel(
              shape.hiddenSize(),
              shape.intermediateSize(),
              shape.experts(),
              shape.gateUp(),
              List.of(0),
              List.copyOf(dense.values()));
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
      assertThat(compared)
          .as("deltas that were compared")
          .hasSize(families.stream().mapToInt(each -> each.deltas().all().size()).sum());
    } finally {
      files.forEach(PeftAdapter::close);
    }
  }

  /** Enters a layer of an adapter, if it has one, and modules that are not there yet. */
  private void addEntry(
      GoldenFamilies.Family family,
      String name,
      int layer,
      LoraAdapter whole,
      Map<String, DenseModule> dense) {
    String title = "%s %s, layer %d".formatted(family, name, layer);
    LoraAdapter.Builder builder = LoraAdapter.builder(title);
    boolean any = false;
    for (Projection projection : Projection.values()) {
      for (int expert = 0; expert < family.shape().experts(); expert++) {
        for (LoraSlice slice : whole.slices(layer, projection, expert)) {
          builder.add(0, projection, expert, slice);
          any = true;
        }
      }
    }
    Map<String, String> modules = new TreeMap<>();
    for (String module : whole.modules()) {
      Matcher matcher = LAYER.matcher(module);
      assertThat(matcher.find()).as(module).isTrue();
      if (Integer.parseInt(matcher.group(1)) == layer) {
        int[] widths = Objects.requireNonNull(family.delta(name, module), module).shape();
        String ours = nextName(widths, modules);
        modules.put(ours, module);
        dense.putIfAbsent(ours, new DenseModule(ours, widths[1], widths[0]));
        whole.slices(module).forEach(slice -> builder.addDense(ours, slice));
        any = true;
      }
    }
    if (any) {
      entries.add(new Entry(family, name, layer, modules, builder.build()));
    }
  }

  private static String nextName(int[] widths, Map<String, String> taken) {
    String name;
    int number = 0;
    do {
      name = "%d to %d, %d".formatted(widths[1], widths[0], number++);
    } while (taken.containsKey(name));
    return name;
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
      for (Projection projection : Projection.values()) {
        ProjectionCall call = new ProjectionCall(0, projection, true, false, false, 0);
        check(
            model,
            step,
            call,
            expertIds,
            entry -> entry.family.delta(entry.adapter, entry.layer, projection));
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
            String theirs = entry.modules.get(module.name());
            return theirs == null ? null : entry.family.delta(entry.adapter, theirs);
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
      if (delta != null) {
        compared.add(delta);
      }
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
