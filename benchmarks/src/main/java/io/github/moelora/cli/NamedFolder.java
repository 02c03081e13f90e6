package io.github.moelora.cli;

import java.nio.file.InvalidPathException;
import java.nio.file.Path;
import picocli.CommandLine.ITypeConverter;
import picocli.CommandLine.TypeConversionException;

/** Value {@code NAME=ADAPTER} of an option. */
record NamedFolder(String name, Path folder) {

  /** Splits at the first equals sign. */
  static final class Converter implements ITypeConverter<NamedFolder> {
    @Override
    public NamedFolder convert(String value) {
      int equals = value.indexOf('=');
      if (equals < 1 || equals == value.length() - 1) {
        throw new TypeConversionException("must be NAME=ADAPTER, got " + value);
      }
      try {
        return new NamedFolder(value.substring(0, equals), Path.of(value.substring(equals + 1)));
      } catch (InvalidPathException e) {
        throw new TypeConversionException("must be NAME=ADAPTER with a valid path, got " + value);
      }
    }
  }
}
