package io.github.moelora.bench;

import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.lang.invoke.MethodHandle;

/** Memory of the C library's {@code malloc}: nobody has touched its pages. */
@SuppressWarnings("restricted") // that is what this class is for
final class RawMemory implements AutoCloseable {
  private static final Linker LINKER = Linker.nativeLinker();

  private static final MethodHandle MALLOC =
      LINKER.downcallHandle(
          LINKER.defaultLookup().findOrThrow("malloc"),
          FunctionDescriptor.of(ValueLayout.ADDRESS, ValueLayout.JAVA_LONG));

  private static final MethodHandle FREE =
      LINKER.downcallHandle(
          LINKER.defaultLookup().findOrThrow("free"),
          FunctionDescriptor.ofVoid(ValueLayout.ADDRESS));

  private final MemorySegment segment;

  RawMemory(long bytes) {
    try {
      segment = ((MemorySegment) MALLOC.invokeExact(bytes)).reinterpret(bytes);
    } catch (Throwable e) {
      throw new IllegalStateException("malloc of %d bytes failed".formatted(bytes), e);
    }
    if (segment.address() == 0) {
      throw new OutOfMemoryError("malloc of %d bytes".formatted(bytes));
    }
  }

  MemorySegment segment() {
    return segment;
  }

  @Override
  public void close() {
    try {
      FREE.invokeExact(segment);
    } catch (Throwable e) {
      throw new IllegalStateException("free failed", e);
    }
  }
}
