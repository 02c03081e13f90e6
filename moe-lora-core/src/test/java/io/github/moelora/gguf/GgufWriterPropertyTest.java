package io.github.moelora.gguf;

import static org.assertj.core.api.Assertions.assertThat;

import io.github.moelora.gguf.GgufFile.Tensor;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Random;
import net.jqwik.api.ForAll;
import net.jqwik.api.Property;
import net.jqwik.api.constraints.IntRange;

/** Whatever is written is read with the same bits. */
final class GgufWriterPropertyTest {
  private static final GgmlType[] TYPES = GgmlType.values();

  private record Written(GgmlType type, List<Long> shape, byte[] data) {}

  @Property(tries = 300)
  void whatIsWrittenIsRead(@ForAll @IntRange(max = 9) int tensors, @ForAll long seed)
      throws IOException {
    Random random = new Random(seed);
    GgufWriter writer = new GgufWriter();
    Map<String, GgufValue> metadata = metadata(random);
    metadata.forEach(writer::metadata);
    Map<String, Written> expected = new LinkedHashMap<>();
    for (int i = 0; i < tensors; i++) {
      Written tensor = tensor(random);
      expected.put("t" + i, tensor);
      writer.tensor(
          "t" + i,
          tensor.type(),
          tensor.shape(),
          data -> data.copyFrom(MemorySegment.ofArray(tensor.data())));
    }
    Path path = Files.createTempFile("written", ".gguf");
    try {
      assertThat(writer.write(path)).isEqualTo(Files.size(path));
      try (GgufFile file = GgufFile.open(path)) {
        assertThat(file.metadata()).isEqualTo(metadata);
        assertThat(file.metadata().keySet()).containsExactlyElementsOf(metadata.keySet());
        assertThat(file.tensors().keySet()).containsExactlyElementsOf(expected.keySet());
        expected.forEach(
            (name, tensor) -> assertRead(Objects.requireNonNull(file.tensors().get(name)), tensor));
      }
    } finally {
      Files.delete(path);
    }
  }

  private static void assertRead(Tensor read, Written written) {
    assertThat(read.type()).isEqualTo(written.type());
    assertThat(read.shape()).isEqualTo(written.shape());
    assertThat(read.data().toArray(ValueLayout.JAVA_BYTE)).isEqualTo(written.data());
  }

  private static Written tensor(Random random) {
    GgmlType type = TYPES[random.nextInt(TYPES.length)];
    List<Long> shape = new ArrayList<>();
    long elements = 1;
    int dimensions = 1 + random.nextInt(4);
    for (int i = 0; i < dimensions; i++) {
      long blocks = 1L + random.nextInt(5);
      shape.add(i == dimensions - 1 ? blocks * type.blockElements() : blocks);
      elements *= blocks;
    }
    byte[] data = new byte[(int) elements * type.blockBytes()];
    random.nextBytes(data);
    return new Written(type, shape, data);
  }

  /** Values of all types but arrays, which are views and so have no value of their own. */
  private static Map<String, GgufValue> metadata(Random random) {
    Map<String, GgufValue> metadata = new LinkedHashMap<>();
    for (int i = random.nextInt(8); i > 0; i--) {
      GgufValue value =
          switch (random.nextInt(7)) {
            case 0 -> GgufValue.text("wörds " + random.nextInt());
            case 1 -> GgufValue.float32(random.nextFloat());
            case 2 -> GgufValue.uint32(random.nextInt());
            case 3 -> new GgufValue.Truth(random.nextBoolean());
            case 4 -> new GgufValue.Real(GgufValue.Type.FLOAT64, random.nextGaussian());
            case 5 -> new GgufValue.Whole(GgufValue.Type.INT64, random.nextLong());
            default -> new GgufValue.Whole(GgufValue.Type.INT16, (short) random.nextInt());
          };
      metadata.put("key." + i, value);
    }
    if (random.nextBoolean()) {
      metadata.put("general.alignment", GgufValue.uint32(8 << random.nextInt(5)));
    }
    return metadata;
  }
}
