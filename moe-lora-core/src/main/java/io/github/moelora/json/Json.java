package io.github.moelora.json;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonLocation;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.JsonToken;
import com.fasterxml.jackson.core.StreamReadConstraints;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * Reads hostile JSON: strict UTF-8, bounded depth and lengths; {@link #object} also takes duplicate
 * keys and trailing content for errors.
 */
public final class Json {
  private static final int MAX_DEPTH = 32;
  private static final int MAX_STRING = 1 << 20;
  private static final int MAX_NAME = 4096;
  private static final int MAX_NUMBER = 64;

  private static final JsonFactory FACTORY =
      JsonFactory.builder()
          // names of hostile files must stay in no table that outlives the parser
          .disable(JsonFactory.Feature.INTERN_FIELD_NAMES)
          .disable(JsonFactory.Feature.CANONICALIZE_FIELD_NAMES)
          .streamReadConstraints(
              StreamReadConstraints.builder()
                  .maxNestingDepth(MAX_DEPTH)
                  .maxStringLength(MAX_STRING)
                  .maxNameLength(MAX_NAME)
                  .maxNumberLength(MAX_NUMBER)
                  .build())
          .build();

  private Json() {}

  /** A parser whose input must be UTF-8; Jackson alone would also take UTF-16 and UTF-32. */
  public static JsonParser parser(InputStream utf8) throws IOException {
    // a decoder, unlike a charset, reports what is malformed
    return FACTORY.createParser(new InputStreamReader(utf8, StandardCharsets.UTF_8.newDecoder()));
  }

  /**
   * Reads one object.
   *
   * @return values as {@code Map}, {@code List}, {@code String}, {@code Long}, {@code Double},
   *     {@code Boolean} or null
   * @throws IOException if the bytes are not one JSON object, within the limits above
   */
  public static Map<String, @Nullable Object> object(InputStream utf8) throws IOException {
    try (JsonParser parser = parser(utf8)) {
      requireObject(parser);
      Map<String, @Nullable Object> object = readObject(parser);
      requireEnd(parser);
      return object;
    }
  }

  /**
   * Reads the first token.
   *
   * @throws IOException if it does not begin an object
   */
  public static void requireObject(JsonParser parser) throws IOException {
    if (parser.nextToken() != JsonToken.START_OBJECT) {
      throw new IOException("a JSON object must stand here");
    }
  }

  /**
   * Reads behind the last token.
   *
   * @throws IOException if anything follows
   */
  public static void requireEnd(JsonParser parser) throws IOException {
    if (parser.nextToken() != null) {
      throw new IOException("nothing must follow the JSON object");
    }
  }

  private static Map<String, @Nullable Object> readObject(JsonParser parser) throws IOException {
    Map<String, @Nullable Object> object = new LinkedHashMap<>();
    while (parser.nextToken() != JsonToken.END_OBJECT) {
      String name = parser.currentName();
      if (object.containsKey(name)) {
        throw new IOException("the key %s twice".formatted(name));
      }
      parser.nextToken();
      object.put(name, readValue(parser));
    }
    return object;
  }

  private static List<@Nullable Object> readArray(JsonParser parser) throws IOException {
    List<@Nullable Object> array = new ArrayList<>();
    while (parser.nextToken() != JsonToken.END_ARRAY) {
      array.add(readValue(parser));
    }
    return array;
  }

  /** Reads the value whose first token is the current one, as {@link #object} has values. */
  public static @Nullable Object readValue(JsonParser parser) throws IOException {
    return switch (parser.currentToken()) {
      case START_OBJECT -> readObject(parser);
      case START_ARRAY -> readArray(parser);
      case VALUE_STRING -> parser.getText();
      case VALUE_NUMBER_INT -> parser.getLongValue();
      case VALUE_NUMBER_FLOAT -> parser.getDoubleValue();
      case VALUE_TRUE -> true;
      case VALUE_FALSE -> false;
      case null, default -> null;
    };
  }

  /** What is wrong and where, in one line. */
  public static String explain(IOException e) {
    if (e instanceof CharacterCodingException) {
      return "bytes that are not UTF-8";
    }
    if (!(e instanceof JsonProcessingException json)) {
      return String.valueOf(e.getMessage());
    }
    String message =
        String.valueOf(json.getOriginalMessage())
            .replaceAll("\\s*\\(start marker at \\[Source:[^\\]]*\\]\\)", "")
            .lines()
            .findFirst()
            .orElse("");
    JsonLocation at = json.getLocation();
    return at == null
        ? message
        : "%s (line %d, column %d)".formatted(message, at.getLineNr(), at.getColumnNr());
  }
}
