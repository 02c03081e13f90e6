package io.github.moelora.safetensors;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatCode;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.catchThrowableOfType;
import static org.assertj.core.api.Assumptions.assumeThat;

import io.github.moelora.AdapterFormatException;
import io.github.moelora.DType;
import io.github.moelora.testkit.AdapterFiles;
import io.github.moelora.testkit.Mappings;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Objects;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Assertions;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

final class SafeTensorsFileTest {
  @TempDir private Path directory;

  private Path write(byte[] bytes) throws IOException {
    return Files.write(directory.resolve("test.safetensors"), bytes);
  }

  private AdapterFormatException refusal(byte[] bytes) throws IOException {
    Path path = write(bytes);
    AdapterFormatException refusal =
        catchThrowableOfType(
            AdapterFormatException.class,
            () -> {
              try (SafeTensorsFile file = SafeTensorsFile.open(path)) {
                assertThat(file).isNull();
              }
            });
    assertThat(refusal).isNotNull();
    assertThat(refusal.file()).isEqualTo(path);
    assertThat(Mappings.of(path)).isEmpty();
    return refusal;
  }

  @Test
  void tensorsAreViewsOfTheirBytes() throws IOException {
    AdapterFiles files =
        new AdapterFiles()
            .tensor("b", DType.F32, 1, 3, (i, j) -> j + 0.5)
            .tensor("a", DType.BF16, 5, 1, (i, j) -> i)
            .entry("empty", "I64", "[0,7]", new byte[0])
            .entry("scalar", "F64", "[]", new byte[8])
            .rawEntry("\"__metadata__\":{\"format\":\"pt\",\"x\":\"\"}");
    Path path = write(files.weights());
    try (SafeTensorsFile file = SafeTensorsFile.open(path)) {
      assertThat(file.path()).isEqualTo(path);
      assertThat(file.tensors().keySet()).containsExactly("b", "a", "empty", "scalar");
      SafeTensorsFile.Tensor b = file.tensors().firstEntry().getValue();
      assertThat(b.name()).isEqualTo("b");
      assertThat(b.dtype()).isEqualTo("F32");
      assertThat(b.shape()).containsExactly(1L, 3L);
      assertThat(b.data().byteSize()).isEqualTo(12);
      assertThat(DType.F32.get(b.data(), 2)).isEqualTo(2.5f);
      SafeTensorsFile.Tensor a = Objects.requireNonNull(file.tensors().get("a"));
      assertThat(DType.BF16.get(a.data(), 4)).isEqualTo(4);
      assertThat(a.data().isReadOnly()).isTrue();
    }
  }

  @Test
  void theOrderOfTheHeaderIsFree() throws IOException {
    String header =
        "{\"second\":{\"shape\":[1],\"data_offsets\":[4,8],\"dtype\":\"F32\"},"
            + "\"first\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}   ";
    byte[] json = header.getBytes(StandardCharsets.UTF_8);
    Path path = write(AdapterFiles.weights(json.length, json, List.of(new byte[8])));
    try (SafeTensorsFile file = SafeTensorsFile.open(path)) {
      assertThat(file.tensors().keySet()).containsExactly("first", "second");
    }
  }

  @Test
  void closingUnmapsAndTwiceDoesNothing() throws IOException {
    Path path = write(new AdapterFiles().zeros("a", 2, 2).weights());
    SafeTensorsFile file = SafeTensorsFile.open(path);
    MemorySegment data = file.tensors().firstEntry().getValue().data();
    assertThat(Mappings.of(path)).hasSize(Mappings.areKnown() ? 1 : 0);
    file.close();
    file.close();
    assertThat(Mappings.of(path)).isEmpty();
    assertThatThrownBy(() -> data.get(ValueLayout.JAVA_BYTE, 0))
        .isInstanceOf(IllegalStateException.class);
  }

  private static AdapterFiles good() {
    return new AdapterFiles().zeros("a", 2, 2);
  }

  /** A header with one entry {@code a} for no bytes, but for the given field. */
  private static byte[] withField(String field) {
    String sound =
        Stream.of("\"dtype\":\"F32\"", "\"shape\":[0]", "\"data_offsets\":[0,0]")
            .filter(other -> !other.startsWith(field.substring(0, field.indexOf(':'))))
            .reduce(field, (all, other) -> all + "," + other);
    return AdapterFiles.headerOnly("{\"a\":{%s}}".formatted(sound));
  }

  static Stream<Arguments> damages() {
    String entry = "{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}";
    return Stream.of(
        damage("no bytes", new byte[0], null, "at least 8 bytes", "0"),
        damage("seven bytes", new byte[7], null, "at least 8 bytes", "7"),
        damage("no header", new byte[8], null, "header length must be in [2, 0]", "0"),
        damage(
            "a header of one byte",
            AdapterFiles.headerOnly("1"),
            null,
            "header length must be in [2, 1]",
            "1"),
        damage(
            "a length of 2^63",
            AdapterFiles.weights(Long.MIN_VALUE, new byte[10], List.of()),
            null,
            "header length",
            "9223372036854775808"),
        damage("an array", AdapterFiles.headerOnly("[]"), null, "must be a JSON object", "object"),
        damage("a number", AdapterFiles.headerOnly("42"), null, "must be a JSON object", "object"),
        damage("spaces", AdapterFiles.headerOnly("     "), null, "must be a JSON object", "object"),
        damage(
            "more than an object",
            AdapterFiles.headerOnly("{} {}"),
            null,
            "must be a JSON object",
            "nothing must follow"),
        damage(
            "UTF-16",
            AdapterFiles.weights(4, "{}".getBytes(StandardCharsets.UTF_16BE), List.of()),
            null,
            "JSON",
            ""),
        damage("a byte order mark", AdapterFiles.headerOnly("\uFEFF{}"), null, "JSON", "haracter"),
        damage(
            "bytes that are not UTF-8",
            AdapterFiles.weights(5, new byte[] {'{', '"', (byte) 0xc3, '"', '}'}, List.of()),
            null,
            "JSON object in UTF-8",
            "bytes that are not UTF-8"),
        damage(
            "an overlong slash",
            AdapterFiles.weights(
                6, new byte[] {'{', '"', (byte) 0xc0, (byte) 0xaf, '"', '}'}, List.of()),
            null,
            "JSON object in UTF-8",
            "bytes that are not UTF-8"),
        damage(
            "a name twice",
            AdapterFiles.headerOnly("{\"a\":%s,\"a\":%s}".formatted(entry, entry)),
            "a",
            "a name must occur once",
            "second"),
        damage(
            "a name twice, once with an escape",
            AdapterFiles.headerOnly("{\"a\":%s,\"\\u0061\":%s}".formatted(entry, entry)),
            "a",
            "a name must occur once",
            "second"),
        damage(
            "a field twice",
            withField("\"dtype\":\"F32\",\"dtype\":\"F16\""),
            "a",
            "must occur once",
            "dtype"),
        damage("an unknown field", withField("\"strides\":[1]"), "a", "only", "strides"),
        damage(
            "no shape",
            AdapterFiles.headerOnly("{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,0]}}"),
            "a",
            "must hold dtype, shape and data_offsets",
            "shape null"),
        damage(
            "no dtype",
            AdapterFiles.headerOnly("{\"a\":{\"shape\":[0],\"data_offsets\":[0,0]}}"),
            "a",
            "must hold dtype, shape and data_offsets",
            "dtype null"),
        damage(
            "no offsets",
            AdapterFiles.headerOnly("{\"a\":{\"dtype\":\"F32\",\"shape\":[0]}}"),
            "a",
            "must hold dtype, shape and data_offsets",
            "data_offsets null"),
        damage(
            "an entry that is a number",
            AdapterFiles.headerOnly("{\"a\":7}"),
            "a",
            "entry must be an object",
            "VALUE_NUMBER_INT"),
        damage("an unknown dtype", withField("\"dtype\":\"F31\""), "a", "dtype", "F31"),
        damage("a dtype that is a number", withField("\"dtype\":32"), "a", "dtype", "32"),
        damage("a dtype that is a list", withField("\"dtype\":[\"F32\"]"), "a", "dtype", "["),
        damage("a shape that is a number", withField("\"shape\":0"), "a", "shape must be", "INT"),
        damage("a shape with a string", withField("\"shape\":[\"0\"]"), "a", "integers", "0"),
        damage("a negative dimension", withField("\"shape\":[-1,0]"), "a", "not negative", "-1"),
        damage("minus zero", withField("\"shape\":[-0]"), "a", "not negative", "0"),
        damage("a broken dimension", withField("\"shape\":[0.0]"), "a", "integers", "0.0"),
        damage("a nested shape", withField("\"shape\":[[0]]"), "a", "integers", "["),
        damage(
            "nine dimensions",
            withField("\"shape\":[0,1,1,1,1,1,1,1,1]"),
            "a",
            "shape must have at most 8 elements",
            "one more"),
        damage(
            "a dimension of 2^64",
            withField("\"shape\":[18446744073709551616]"),
            "a",
            "JSON",
            "out of range"),
        damage(
            "a product of 2^64",
            withField("\"shape\":[4294967296,4294967296]"),
            "a",
            "fewer than 2^63",
            "[4294967296, 4294967296]"),
        damage(
            "a product that overflows to 0",
            withField("\"shape\":[4611686018427387904]"),
            "a",
            "fewer than 2^63",
            "[4611686018427387904]"),
        damage(
            "a number of 100 digits",
            withField("\"shape\":[%s]".formatted("9".repeat(100))),
            "a",
            "JSON",
            "exceeds"),
        damage("one offset", withField("\"data_offsets\":[0]"), "a", "[begin, end]", "[0]"),
        damage("no offset", withField("\"data_offsets\":[]"), "a", "[begin, end]", "[]"),
        damage(
            "three offsets",
            withField("\"data_offsets\":[0,0,0]"),
            "a",
            "data_offsets must have at most 2 elements",
            "one more"),
        damage(
            "a negative offset", withField("\"data_offsets\":[-4,0]"), "a", "not negative", "-4"),
        damage(
            "offsets in the wrong order",
            good()
                .rawEntry("\"b\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[8,4]}")
                .weights(),
            "b",
            "begin <= end <= 16",
            "[8, 4]"),
        damage(
            "an end past the file",
            good()
                .rawEntry("\"b\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[16,17]}")
                .weights(),
            "b",
            "begin <= end <= 16",
            "[16, 17]"),
        damage(
            "an end far past the file",
            withField("\"data_offsets\":[0,9223372036854775807]"),
            "a",
            "begin <= end <= 0",
            "9223372036854775807"),
        damage(
            "more bytes than the shape",
            new AdapterFiles().entry("a", "F32", "[1]", new byte[5]).weights(),
            "a",
            "must fill the 5 bytes",
            "4"),
        damage(
            "an overlap",
            good()
                .rawEntry("\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[12,16]}")
                .weights(),
            "b",
            "data must begin at byte 16",
            "12"),
        damage(
            "the same bytes twice",
            good()
                .rawEntry("\"b\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16]}")
                .weights(),
            "b",
            "data must begin at byte 16",
            "0"),
        damage(
            "a gap at the start",
            new AdapterFiles().bytes(1).zeros("a", 1, 1).weights(),
            "a",
            "data must begin at byte 0",
            "1"),
        damage(
            "a gap in the middle",
            good().bytes(3).zeros("b", 1, 1).weights(),
            "b",
            "data must begin at byte 16",
            "19"),
        damage("a gap at the end", good().bytes(2).weights(), null, "cover all 18 bytes", "16"),
        damage("bytes without a tensor", new AdapterFiles().bytes(1).weights(), null, "all 1", "0"),
        damage(
            "metadata that is a list",
            AdapterFiles.headerOnly("{\"__metadata__\":[]}"),
            null,
            "__metadata__",
            "START_ARRAY"),
        damage(
            "metadata with a number",
            AdapterFiles.headerOnly("{\"__metadata__\":{\"a\":1}}"),
            null,
            "__metadata__ must be an object of strings",
            "NUMBER"),
        damage(
            "a cut name", AdapterFiles.headerOnly("{\"a"), null, "JSON", "Unexpected end-of-input"),
        damage(
            "a cut entry",
            AdapterFiles.headerOnly("{\"a\":{\"dtype\":\"F32\","),
            "a",
            "JSON",
            "Unexpected end-of-input"),
        damage(
            "a cut list",
            AdapterFiles.headerOnly("{\"a\":{\"shape\":[1"),
            "a",
            "JSON",
            "Unexpected end-of-input"),
        damage(
            "a cut value", AdapterFiles.headerOnly("{\"a\":"), null, "JSON", "Unexpected end-of"),
        damage(
            "deep nesting",
            AdapterFiles.headerOnly("{\"a\":{\"dtype\":" + "[".repeat(100_000)),
            "a",
            "dtype",
            "["),
        damage(
            "deep nesting in an unknown place",
            AdapterFiles.headerOnly("{\"__metadata__\":{\"a\":" + "[".repeat(100_000)),
            null,
            "__metadata__",
            "START_ARRAY"),
        damage(
            "a very long name",
            AdapterFiles.headerOnly("{\"%s\":%s}".formatted("n".repeat(10_000), entry)),
            null,
            "JSON",
            "exceeds the maximum"),
        damage("a control character", AdapterFiles.headerOnly("{\"a\n\":1}"), null, "JSON", ""),
        damage("NaN for a number", withField("\"shape\":[NaN]"), "a", "JSON", "NaN"));
  }

  private static Arguments damage(
      String what, byte[] bytes, @Nullable String tensor, String rule, String value) {
    return Arguments.of(what, bytes, tensor, rule, value);
  }

  @ParameterizedTest(name = "{0}")
  @MethodSource("damages")
  void isRefused(String what, byte[] bytes, @Nullable String tensor, String rule, String value)
      throws IOException {
    AdapterFormatException refusal = refusal(bytes);
    assertThat(refusal.tensor()).as(what).isEqualTo(tensor);
    assertThat(refusal.rule()).as(what).contains(rule);
    assertThat(refusal.value()).as(what).contains(value);
    assertThat(refusal.getMessage()).as(what).doesNotContain("REDACTED").doesNotContain("\n");
  }

  @Test
  void aHeaderMustHaveAtMostAHundredMillionBytes() throws IOException {
    Path path = directory.resolve("sparse.safetensors");
    try (RandomAccessFile sparse = new RandomAccessFile(path.toFile(), "rw")) {
      sparse.writeLong(Long.reverseBytes(100_000_001));
      sparse.setLength(200_000_000);
    }
    assertThatThrownBy(() -> SafeTensorsFile.open(path).close())
        .isInstanceOf(AdapterFormatException.class)
        .hasMessageContaining("header length must be in [2, 100000000], got 100000001");
  }

  /** Entries without end must cost neither their tree nor gigabytes. */
  @Test
  void tooManyTensorsAreRefusedEarly() throws IOException {
    assertThat(refusal(AdapterFiles.headerOnly(entries((1 << 20) + 1))))
        .hasMessageContaining("at most 1048576 tensors, got one more");
  }

  private static String entries(int count) {
    StringBuilder header = new StringBuilder(56 * count);
    for (int i = 0; i < count; i++) {
      header
          .append(i == 0 ? "{\"" : ",\"")
          .append(Integer.toHexString(i))
          .append("\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}");
    }
    return header.append('}').toString();
  }

  @Test
  void asManyTensorsAsAreAllowedOpen() throws IOException {
    StringBuilder header =
        new StringBuilder("{\"x\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}");
    for (int i = 1; i < 1 << 18; i++) {
      header.append(",\"%x\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}".formatted(i));
    }
    Path path = write(AdapterFiles.headerOnly(header.append('}').toString()));
    try (SafeTensorsFile file = SafeTensorsFile.open(path)) {
      assertThat(file.tensors()).hasSize(1 << 18);
    }
  }

  @Test
  void everyTypeOfTheFormatIsRead() throws IOException {
    AdapterFiles files = new AdapterFiles();
    for (String type : List.of("BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0")) {
      files.entry(type, type, "[3]", new byte[3]);
    }
    for (String type : List.of("I16", "U16", "F16", "BF16")) {
      files.entry(type, type, "[3]", new byte[6]);
    }
    for (String type : List.of("I32", "U32", "F32")) {
      files.entry(type, type, "[3]", new byte[12]);
    }
    for (String type : List.of("I64", "U64", "F64")) {
      files.entry(type, type, "[3]", new byte[24]);
    }
    Path path = write(files.weights());
    assertThatCode(() -> SafeTensorsFile.open(path).close()).doesNotThrowAnyException();
  }

  @Test
  void aMissingFileIsNamed() {
    Path path = directory.resolve("nowhere.safetensors");
    assertThatThrownBy(() -> SafeTensorsFile.open(path).close())
        .isInstanceOf(AdapterFormatException.class)
        .hasMessage(path + ": it must be a regular file, got no such file");
  }

  @Test
  void aDirectoryIsNotOpened() {
    assertThatThrownBy(() -> SafeTensorsFile.open(directory).close())
        .isInstanceOf(AdapterFormatException.class)
        .hasMessageContaining("it must be a regular file, got something else");
  }

  /** Opening a pipe that nobody writes to would hang. */
  @Test
  void aPipeIsNotOpened() throws Exception {
    Path pipe = directory.resolve("pipe");
    Process mkfifo;
    try {
      mkfifo = new ProcessBuilder("mkfifo", pipe.toString()).start();
    } catch (IOException e) {
      assumeThat(false).as("mkfifo is here").isTrue();
      return;
    }
    assumeThat(mkfifo.waitFor()).isZero();
    Assertions.assertTimeoutPreemptively(
        Duration.ofSeconds(10),
        () ->
            assertThatThrownBy(() -> SafeTensorsFile.open(pipe).close())
                .isInstanceOf(AdapterFormatException.class)
                .hasMessageContaining("regular file"));
  }

  @Test
  void whatAMessageShowsIsShortAndPrintable() {
    AdapterFormatException refusal =
        new AdapterFormatException(
            Path.of("f"), "a\nb\u001b[31m\u202e", "r\tule", "x".repeat(299) + "yz");
    assertThat(refusal)
        .hasMessage(
            "f: tensor a\uFFFDb\uFFFD[31m\uFFFD: r\uFFFDule, got " + "x".repeat(299) + "y...");
    assertThat(refusal.tensor()).isEqualTo("a\nb\u001b[31m\u202e");
    assertThat(refusal.rule()).isEqualTo("r\uFFFDule");
    assertThat(refusal.value()).isEqualTo("x".repeat(299) + "y...");
    assertThat(new AdapterFormatException(Path.of("f"), null, "r", "x".repeat(300)).value())
        .isEqualTo("x".repeat(300));
  }
}
