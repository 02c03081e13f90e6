package io.github.moelora.gguf;

import static io.github.moelora.gguf.GgufBytes.F32;
import static io.github.moelora.gguf.GgufBytes.int32;
import static io.github.moelora.gguf.GgufBytes.int64;
import static io.github.moelora.gguf.GgufBytes.join;
import static io.github.moelora.gguf.GgufBytes.string;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.github.moelora.AdapterFormatException;
import io.github.moelora.gguf.GgufFile.Tensor;
import io.github.moelora.testkit.Mappings;
import io.github.moelora.testkit.Seeds;
import java.io.IOException;
import java.lang.foreign.ValueLayout;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Objects;
import java.util.Random;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.MethodSource;

/** Sound files are read as they were written, damaged ones are refused by name. */
final class GgufFileTest {
  @TempDir private Path directory;

  private Path file() {
    return directory.resolve("file.gguf");
  }

  @ParameterizedTest
  @CsvSource({"2, 32, false", "3, 32, false", "3, 64, true", "3, 8, true", "2, 4096, true"})
  void tensorsAreWhereTheirOffsetsSay(int version, int alignment, boolean shuffled)
      throws IOException {
    Random random = new Random(Seeds.of("tensorsAreWhereTheirOffsetsSay"));
    GgufBytes bytes = new GgufBytes().version(version).alignment(alignment);
    bytes.uint32("general.alignment", alignment);
    byte[][] bodies = new byte[13][];
    for (int i = 0; i < bodies.length; i++) {
      bodies[i] = new byte[4 * (1 + i) * 3];
      random.nextBytes(bodies[i]);
      bytes.tensor("tensor." + i, F32, new long[] {3, 1 + i}, bodies[i]);
    }
    if (shuffled) {
      bytes.shuffled(random.nextLong());
    }
    try (GgufFile file = GgufFile.open(bytes.write(file()))) {
      assertThat(file.version()).isEqualTo(version);
      assertThat(file.alignment()).isEqualTo(alignment);
      assertThat(file.tensors()).hasSize(bodies.length);
      for (int i = 0; i < bodies.length; i++) {
        Tensor tensor = tensor(file, "tensor." + i);
        assertThat(tensor.shape()).containsExactly(1L + i, 3L);
        assertThat(tensor.type()).isEqualTo(GgmlType.F32);
        assertThat(tensor.data().toArray(ValueLayout.JAVA_BYTE)).isEqualTo(bodies[i]);
      }
    }
  }

  @Test
  void metadataOfEveryTypeIsRead() throws IOException {
    GgufBytes bytes =
        new GgufBytes()
            .raw("u8", 0, new byte[] {(byte) 200})
            .raw("i8", 1, new byte[] {(byte) 200})
            .raw("u16", 2, new byte[] {(byte) 0xff, (byte) 0xfe})
            .raw("i16", 3, new byte[] {(byte) 0xff, (byte) 0xfe})
            .uint32("u32", -2)
            .raw("i32", 5, int32(-2))
            .float32("f32", 0.1f)
            .raw("yes", 7, new byte[] {1})
            .raw("no", 7, new byte[] {0})
            .text("text", "Größe")
            .raw("u64", 10, int64(-2))
            .raw("i64", 11, int64(-2))
            .raw("f64", 12, int64(Double.doubleToLongBits(0.1)))
            .raw("words", 9, join(int32(8), int64(2), string("a"), string("bc")))
            .raw("numbers", 9, join(int32(5), int64(3), int32(1), int32(-2), int32(3)))
            .raw("none", 9, join(int32(12), int64(0)));
    try (GgufFile file = GgufFile.open(bytes.write(file()))) {
      assertThat(file.metadata().entrySet().stream().map(e -> e.getKey() + "=" + e.getValue()))
          .containsExactly(
              "u8=200",
              "i8=-56",
              "u16=65279",
              "i16=-257",
              "u32=4294967294",
              "i32=-2",
              "f32=0.1",
              "yes=true",
              "no=false",
              "text=Größe",
              "u64=18446744073709551614",
              "i64=-2",
              "f64=0.1",
              "words=2 values of STRING",
              "numbers=3 values of INT32",
              "none=0 values of FLOAT64");
      assertThat(array(file, "words").first(9)).hasToString("[a, bc]");
      assertThat(array(file, "words").first(1)).hasToString("[a]");
      assertThat(array(file, "numbers").first(9)).hasToString("[1, -2, 3]");
      assertThat(array(file, "none").first(9)).isEmpty();
      int id = 0;
      for (GgufValue.Type type : GgufValue.Type.values()) {
        assertThat(type.id()).isEqualTo(id++);
      }
    }
  }

  private static Tensor tensor(GgufFile file, String name) {
    return Objects.requireNonNull(file.tensors().get(name));
  }

  private static GgufValue.Array array(GgufFile file, String key) {
    return (GgufValue.Array) Objects.requireNonNull(file.metadata().get(key));
  }

  @Test
  void arraysOfEveryFixedSizeAreRead() throws IOException {
    GgufBytes bytes = new GgufBytes();
    for (GgufValue.Type type : GgufValue.Type.values()) {
      if (type.bytes() > 0) {
        byte[] one = new byte[type.bytes()];
        one[0] = 1;
        bytes.raw(type.name(), 9, join(int32(type.id()), int64(2), one, new byte[type.bytes()]));
      }
    }
    try (GgufFile file = GgufFile.open(bytes.write(file()))) {
      assertThat(file.metadata()).hasSize(11);
      for (String key : file.metadata().keySet()) {
        String least =
            switch (key) {
              case "FLOAT32" -> "[1.4E-45, 0.0]";
              case "FLOAT64" -> "[4.9E-324, 0.0]";
              case "BOOL" -> "[true, false]";
              default -> "[1, 0]";
            };
        assertThat(array(file, key).first(2)).as(key).hasToString(least);
      }
    }
  }

  /** Each is harmless: no more than a megabyte is allocated, whatever the file claims. */
  static Stream<Arguments> hostile() {
    long huge = 1L << 60;
    byte[] body = new byte[64];
    GgufBytes one = new GgufBytes().tensor("t", F32, new long[] {16}, body);
    GgufBytes two =
        new GgufBytes()
            .tensor("t", F32, new long[] {16}, body)
            .tensor("u", F32, new long[] {16}, body);
    byte[] data = new byte[128];
    return Stream.of(
        refused("empty", new byte[0], "GGUF must lie within the file"),
        refused(
            "another format",
            "version https://git-lfs".getBytes(StandardCharsets.UTF_8),
            "must begin with GGUF, got vers"),
        refused(
            "magic only", "GGUF".getBytes(StandardCharsets.UTF_8), "the version must lie within"),
        refused("version 1", new GgufBytes().version(1), "version must be 2 or 3, got 1"),
        refused("version 4", new GgufBytes().version(4), "version must be 2 or 3, got 4"),
        refused(
            "big-endian",
            new GgufBytes().version(3 << 24),
            "must be little-endian, got big-endian, version 3"),
        refused(
            "header cut off",
            Arrays.copyOf(new GgufBytes().bytes(), 20),
            "number of metadata values must lie within"),
        refused(
            "many tensors", new GgufBytes().tensorCount(huge), "number of tensors must be in [0, "),
        refused(
            "more tensors than bytes",
            new GgufBytes().tensorCount(7),
            "number of tensors must be in [0, 0] in a file of this size, got 7"),
        refused(
            "negative metadata",
            new GgufBytes().metadataCount(huge << 3),
            "number of metadata values must be in"),
        refused(
            "one value missing",
            new GgufBytes().text("general.name", "a").metadataCount(2),
            "number of metadata values must be in [0, 2]|length of a metadata key"),
        refused(
            "long key",
            new GgufBytes().metadataCount(1).text("k", "").bytes(),
            24,
            int64(huge),
            "length of a metadata key must be in [0, "),
        refused("no key", new GgufBytes().uint32("", 1), "key must have at least one character"),
        refused(
            "key twice",
            new GgufBytes().uint32("k", 1).uint32("k", 1),
            "key must occur once, got k twice"),
        refused(
            "key not UTF-8",
            new GgufBytes().uint32("k", 1).bytes(),
            32,
            new byte[] {(byte) 0xff},
            "a metadata key must be UTF-8"),
        refused(
            "type of a value",
            new GgufBytes().raw("k", 13, int32(0)),
            "type of metadata k must be in [0, 12], got 13"),
        refused(
            "negative type",
            new GgufBytes().raw("k", -1, int32(0)),
            "type of metadata k must be in [0, 12], got -1"),
        refused(
            "long text",
            new GgufBytes().raw("k", 8, int64(huge)),
            "length of metadata k must be in [0, 0]|length of metadata k must be in"),
        refused(
            "negative text", new GgufBytes().raw("k", 8, int64(-1)), "got 18446744073709551615"),
        refused(
            "truth of 2",
            new GgufBytes().raw("k", 7, new byte[] {2}),
            "metadata k must be 0 or 1, got 2"),
        refused(
            "array of arrays",
            new GgufBytes().raw("k", 9, join(int32(9), int64(1), int32(4), int64(0))),
            "element type of metadata k must be"),
        refused(
            "array of nothing known",
            new GgufBytes().raw("k", 9, join(int32(77), int64(1))),
            "element type of metadata k must be"),
        refused(
            "long array",
            new GgufBytes().raw("k", 9, join(int32(4), int64(huge))),
            "count of metadata k must be in [0, "),
        refused(
            "long array of text",
            new GgufBytes().raw("k", 9, join(int32(8), int64(huge))),
            "count of metadata k must be in [0, "),
        refused(
            "array's text past the end",
            new GgufBytes().raw("k", 9, join(int32(8), int64(1), int64(1 << 20))),
            "metadata k must lie within the file"),
        refused(
            "alignment 0",
            new GgufBytes().uint32("general.alignment", 0),
            "general.alignment must be a uint32 that is a power of two, got UINT32 0"),
        refused(
            "alignment 48",
            new GgufBytes().uint32("general.alignment", 48),
            "power of two, got UINT32 48"),
        refused(
            "alignment as text",
            new GgufBytes().text("general.alignment", "32"),
            "power of two, got STRING 32"),
        refused(
            "alignment past the end",
            new GgufBytes()
                .uint32("general.alignment", 1 << 31)
                .zeros("t", 4)
                .assemble(new long[1], new byte[32]),
            "data must begin within the file, at a multiple of 2147483648"),
        refused(
            "name too long",
            new GgufBytes().zeros("t".repeat(65), 4),
            "length of a tensor name must be in [0, 64], got 65"),
        refused(
            "no name",
            new GgufBytes().zeros("", 4),
            "tensor name must have at least one character"),
        refused(
            "name twice",
            new GgufBytes().zeros("t", 4).zeros("t", 4),
            "tensor t: a name must occur once"),
        refused(
            "five dimensions",
            new GgufBytes().zeros("t", 1, 1, 1, 1, 1),
            "tensor t: the number of dimensions must be in [0, 4], got 5"),
        refused(
            "many dimensions",
            one.bytes(),
            33,
            int32(-1),
            "tensor t: the number of dimensions must be in [0, 4], got 4294967295"),
        refused(
            "negative dimension",
            new GgufBytes().tensor("t", F32, new long[] {-1}, body),
            "tensor t: dimension 0 must be in"),
        refused(
            "dimensions overflow",
            new GgufBytes().tensor("t", F32, new long[] {1L << 31, 1L << 31, 2}, body),
            "fewer than 2^63"),
        refused(
            "unknown type",
            new GgufBytes().tensor("t", 5, new long[] {16}, body),
            "tensor t: the type must be one that is known, got 5"),
        refused(
            "type of no sign",
            new GgufBytes().tensor("t", -1, new long[] {16}, body),
            "got 4294967295"),
        refused(
            "part of a block",
            new GgufBytes().tensor("t", GgufBytes.Q8_0, new long[] {48}, body),
            "rows of Q8_0 must be a multiple of 32 long, got 48"),
        refused(
            "past the end",
            new GgufBytes().tensor("t", F32, new long[] {17}, body),
            "tensor t: [17] of F32 must end within the file, got 64 bytes of 68"),
        refused(
            "far past the end",
            new GgufBytes().tensor("t", F32, new long[] {huge}, body),
            "must end within the file"),
        refused(
            "offset past the end",
            one.assemble(new long[] {huge}, data),
            "tensor t: the offset must be a multiple of 32 in [0, 128]"),
        refused(
            "negative offset",
            one.assemble(new long[] {-32}, data),
            "tensor t: the offset must be a multiple of 32"),
        refused(
            "offset not aligned",
            one.assemble(new long[] {16}, data),
            "multiple of 32 in [0, 128], got 16"),
        refused(
            "overlap",
            two.assemble(new long[] {0, 32}, data),
            "tensor u: its bytes must not overlap those of other tensors, got 32 bytes of t"),
        refused("same place", two.assemble(new long[] {0, 0}, data), "must not overlap"),
        refused(
            "entry cut off",
            Arrays.copyOf(one.bytes(), 50),
            "tensor t: the type must lie within the file|must lie within the file"));
  }

  private static Arguments refused(String kind, byte[] bytes, String message) {
    return Arguments.of(kind, bytes, message);
  }

  private static Arguments refused(String kind, GgufBytes bytes, String message) {
    return refused(kind, bytes.bytes(), message);
  }

  /** A file of which some bytes are overwritten. */
  private static Arguments refused(String kind, byte[] bytes, int at, byte[] with, String message) {
    System.arraycopy(with, 0, bytes, at, with.length);
    return refused(kind, bytes, message);
  }

  @ParameterizedTest(name = "{0}")
  @MethodSource("hostile")
  void damagedFilesAreRefused(String kind, byte[] bytes, String message) throws IOException {
    Path path = Files.write(file(), bytes);
    String[] either = message.split("\\|");
    assertThatThrownBy(() -> GgufFile.open(path).close())
        .as(kind)
        .isInstanceOf(AdapterFormatException.class)
        .hasMessageStartingWith(path.toString())
        .satisfies(
            e ->
                assertThat(Arrays.stream(either))
                    .as(e.toString())
                    .anyMatch(e.toString()::contains));
    assertThat(Mappings.of(path)).isEmpty();
  }

  @Test
  void whatIsNoFileIsRefused() {
    assertThatThrownBy(() -> GgufFile.open(directory).close())
        .hasMessageContaining("regular file, got something else");
    assertThatThrownBy(() -> GgufFile.open(file()).close()).hasMessageContaining("no such file");
  }

  @Test
  void closingTwiceDoesNothing() throws IOException {
    GgufFile file = GgufFile.open(new GgufBytes().zeros("t", 4).write(file()));
    assertThat(Mappings.of(file())).hasSize(Mappings.areKnown() ? 1 : 0);
    Tensor tensor = file.tensors().firstEntry().getValue();
    file.close();
    file.close();
    assertThat(Mappings.of(file())).isEmpty();
    assertThatThrownBy(() -> tensor.data().get(ValueLayout.JAVA_BYTE, 0))
        .isInstanceOf(IllegalStateException.class);
  }

  @Test
  void emptyTensorsAndScalarsAreRead() throws IOException {
    GgufBytes bytes = new GgufBytes().zeros("none", 0, 3).zeros("scalar").zeros("last", 1);
    try (GgufFile file = GgufFile.open(bytes.write(file()))) {
      assertThat(tensor(file, "none").data().byteSize()).isZero();
      assertThat(tensor(file, "scalar").shape()).isEqualTo(List.of());
      assertThat(tensor(file, "scalar").data().byteSize()).isEqualTo(4);
    }
  }

  /** As many as a header of safetensors may have, and one. */
  @Test
  void manyTensorsAreRead() throws IOException {
    int count = 262_145;
    GgufBytes bytes = new GgufBytes();
    byte[] body = new byte[32];
    for (int i = 0; i < count; i++) {
      bytes.tensor("blk.%d.t".formatted(i), F32, new long[] {8}, body);
    }
    bytes.write(file());
    try (GgufFile file = GgufFile.open(file())) {
      assertThat(file.tensors()).hasSize(count);
      assertThat(file.tensors().lastEntry().getKey()).isEqualTo("blk.262144.t");
    }
  }
}
