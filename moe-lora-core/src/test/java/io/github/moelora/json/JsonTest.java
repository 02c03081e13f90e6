package io.github.moelora.json;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.fasterxml.jackson.core.JsonParseException;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.MalformedInputException;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;

final class JsonTest {
  private static InputStream bytes(String text) {
    return new ByteArrayInputStream(text.getBytes(StandardCharsets.UTF_8));
  }

  private static Map<String, @Nullable Object> read(String text) throws IOException {
    return Json.object(bytes(text));
  }

  @Test
  void everyKindOfValueIsRead() throws IOException {
    Map<String, @Nullable Object> object =
        read(
            "{\"s\": \"\\u00e9\", \"i\": -3, \"f\": 1.5, \"t\": true, \"n\": null, \"no\": false,"
                + " \"a\": [1, [2], {}], \"o\": {\"x\": {}}, \"max\": 9223372036854775807}");
    assertThat(object.keySet()).containsExactly("s", "i", "f", "t", "n", "no", "a", "o", "max");
    assertThat(object)
        .containsEntry("s", "\u00e9")
        .containsEntry("i", -3L)
        .containsEntry("f", 1.5)
        .containsEntry("t", true)
        .containsEntry("no", false)
        .containsEntry("a", Arrays.asList(1L, List.of(2L), Map.of()))
        .containsEntry("o", Map.of("x", Map.of()))
        .containsEntry("max", Long.MAX_VALUE);
    assertThat(object.get("n")).isNull();
    assertThat(read("{}")).isEmpty();
  }

  @Test
  void aKeyOfNullIsAKeyToo() {
    assertThatThrownBy(() -> read("{\"a\": null, \"a\": 1}")).hasMessage("the key a twice");
  }

  @Test
  void depthIsBounded() throws IOException {
    assertThat(read("{\"a\":" + "[".repeat(31) + "]".repeat(31) + "}")).hasSize(1);
    assertThatThrownBy(() -> read("{\"a\":" + "[".repeat(32) + "]".repeat(32) + "}"))
        .isInstanceOf(IOException.class)
        .hasMessageContaining("nesting depth");
  }

  @Test
  void lengthsAreBounded() throws IOException {
    assertThat(read("{\"%s\": 1}".formatted("n".repeat(4096)))).hasSize(1);
    assertThat(read("{\"a\": %s.5}".formatted("1".repeat(62)))).hasSize(1);
    assertThatThrownBy(() -> read("{\"a\": %s.5}".formatted("1".repeat(64))))
        .isInstanceOf(IOException.class)
        .hasMessageContaining("exceeds the maximum");
  }

  @Test
  void explanationsAreOneLineWithThePlace() {
    assertThatThrownBy(() -> read("{\"a\":\n [1,"))
        .isInstanceOfSatisfying(
            IOException.class,
            e ->
                assertThat(Json.explain(e))
                    .isEqualTo(
                        "Unexpected end-of-input within/between Array entries (line 2, column 5)"));
    assertThatThrownBy(() -> read("{\"a\": [1"))
        .isInstanceOfSatisfying(
            IOException.class,
            e ->
                assertThat(Json.explain(e))
                    .isEqualTo(
                        "Unexpected end-of-input: expected close marker for Array"
                            + " (line 1, column 9)"));
    assertThat(Json.explain(new MalformedInputException(1))).isEqualTo("bytes that are not UTF-8");
    assertThat(Json.explain(new IOException("disk"))).isEqualTo("disk");
    assertThat(Json.explain(new IOException())).isEqualTo("null");
    assertThat(Json.explain(new JsonParseException(null, "a\nb"))).isEqualTo("a");
    assertThat(Json.explain(new JsonParseException(null, ""))).isEmpty();
  }
}
