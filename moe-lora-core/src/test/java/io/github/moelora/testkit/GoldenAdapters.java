package io.github.moelora.testkit;

import io.github.moelora.LoraAdapter;
import io.github.moelora.MoeLora;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.peft.PeftAdapter;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/** All adapters of a golden model, read from their files. */
public final class GoldenAdapters implements AutoCloseable {
  private final Golden.Model model;
  private final List<PeftAdapter> files = new ArrayList<>();
  private final List<LoraAdapter> adapters = new ArrayList<>();

  private GoldenAdapters(Golden.Model model) {
    this.model = model;
  }

  /** Opens and reads the files. */
  public static GoldenAdapters of(Golden.Model model) throws IOException {
    GoldenAdapters all = new GoldenAdapters(model);
    try {
      for (Path directory : model.adapters()) {
        PeftAdapter file = PeftAdapter.open(directory);
        all.files.add(file);
        all.adapters.add(file.toLoraAdapter(model.shape()).withoutUnlisted(model.shape()));
      }
    } catch (IOException | RuntimeException e) {
      all.close();
      throw e;
    }
    return all;
  }

  /** In the order of {@link Golden.Model#adapters}. */
  public List<LoraAdapter> list() {
    return adapters;
  }

  /** An instance for the golden batch, each adapter in the slot of its index. */
  public MoeLora open(String backend) {
    MoeLoraConfig config =
        MoeLoraConfig.of(model.shape(), adapters.size(), Golden.EXPERTS_PER_TOKEN)
            .withMaxTokens(Golden.TOKENS);
    MoeLora lora = MoeLora.open(config, backend);
    for (int slot = 0; slot < adapters.size(); slot++) {
      lora.load(slot, adapters.get(slot));
    }
    return lora;
  }

  /** Unmaps the files. */
  @Override
  public void close() {
    files.forEach(PeftAdapter::close);
  }
}
