package io.github.moelora.tornado.device;

import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SymbolLookup;
import java.lang.foreign.ValueLayout;
import java.lang.invoke.MethodHandle;
import java.util.ArrayList;
import java.util.Collections;
import java.util.IdentityHashMap;
import java.util.List;
import java.util.NoSuchElementException;
import java.util.Set;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;
import uk.ac.manchester.tornado.api.common.TornadoDevice;
import uk.ac.manchester.tornado.api.enums.TornadoVMBackendType;
import uk.ac.manchester.tornado.api.types.arrays.FloatArray;
import uk.ac.manchester.tornado.api.types.arrays.HalfFloatArray;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;
import uk.ac.manchester.tornado.api.types.arrays.LongArray;
import uk.ac.manchester.tornado.api.types.arrays.TornadoNativeArray;

/**
 * Pins the host memory of arrays that travel often, so that the CUDA driver copies it without the
 * processor, whose caches other threads use meanwhile. TornadoVM pins all arrays or none, and none
 * where graphs are captured, since it gives up all pins of the process at once: see {@link
 * DeviceTraits#hasGraphCapture}. These stay until {@link #close}, after which no graph may run that
 * was captured with them.
 *
 * <p>Calls the CUDA driver's own functions, where the JVM allows native access ({@code
 * --enable-native-access}); elsewhere, and with {@code -Dmoelora.tornado.pin=false}, it does
 * nothing. The first thread that pins must have used the device through TornadoVM. Not thread-safe.
 */
public final class HostPins implements AutoCloseable {
  private static final Logger LOG = LoggerFactory.getLogger(HostPins.class);

  private static final int SUCCESS = 0;

  /** The driver pins whole pages, and may refuse to copy other arrays' part of one. */
  private static final int PAGE = 4096;

  /** Pinned for all contexts. */
  private static final int PORTABLE = 1;

  /** Pinned memory must not be given to others, so the arrays stay reachable. */
  private static final Set<Object> KEPT =
      Collections.synchronizedSet(Collections.newSetFromMap(new IdentityHashMap<>()));

  /** The driver's functions. */
  private record Driver(
      MethodHandle register, MethodHandle unregister, MethodHandle getContext, MethodHandle set) {}

  private static final class Loaded {
    static final @Nullable Driver DRIVER = load();
  }

  private final @Nullable Driver driver;
  private final List<TornadoNativeArray> pinned = new ArrayList<>();
  private @Nullable MemorySegment context;

  private HostPins(@Nullable Driver driver) {
    this.driver = driver;
  }

  /** Pins nothing yet. */
  public static HostPins of(TornadoDevice device) {
    boolean wanted = !"false".equalsIgnoreCase(System.getProperty("moelora.tornado.pin"));
    boolean allowed = HostPins.class.getModule().isNativeAccessEnabled();
    boolean cuda = device.getTornadoVMBackend() == TornadoVMBackendType.CUDA;
    return new HostPins(
        wanted && allowed && cuda && !DeviceTraits.pinsHostMemory() ? Loaded.DRIVER : null);
  }

  /** An array whose memory is in pages of its own, as {@link #pin} wants it. */
  public static LongArray longs(int elements) {
    return LongArray.fromSegmentShallow(pages((long) elements * Long.BYTES));
  }

  /** The same of ints. */
  public static IntArray ints(int elements) {
    return IntArray.fromSegmentShallow(pages((long) elements * Integer.BYTES));
  }

  /** The same of 16-bit floats. */
  public static HalfFloatArray halves(int elements) {
    return HalfFloatArray.fromSegmentShallow(pages((long) elements * Short.BYTES));
  }

  /** The same of floats. */
  public static FloatArray floats(int elements) {
    return FloatArray.fromSegmentShallow(pages((long) elements * Float.BYTES));
  }

  private static MemorySegment pages(long bytes) {
    long needed = bytes + TornadoNativeArray.ARRAY_HEADER;
    return Arena.ofAuto().allocate(wholePages(needed), PAGE).asSlice(0, needed);
  }

  private static long wholePages(long bytes) {
    return Math.ceilDiv(bytes, (long) PAGE) * PAGE;
  }

  @SuppressWarnings("restricted") // asked for by whoever enables native access
  private static @Nullable Driver load() {
    try {
      SymbolLookup library = SymbolLookup.libraryLookup("libcuda.so.1", Arena.global());
      ValueLayout pointer = ValueLayout.ADDRESS;
      return new Driver(
          handle(
              library,
              "cuMemHostRegister_v2",
              pointer,
              ValueLayout.JAVA_LONG,
              ValueLayout.JAVA_INT),
          handle(library, "cuMemHostUnregister", pointer),
          handle(library, "cuCtxGetCurrent", pointer),
          handle(library, "cuCtxSetCurrent", pointer));
    } catch (IllegalArgumentException | NoSuchElementException e) {
      LOG.debug("host memory is not pinned: {}", e.toString());
      return null;
    }
  }

  @SuppressWarnings("restricted")
  private static MethodHandle handle(SymbolLookup library, String name, ValueLayout... arguments) {
    return Linker.nativeLinker()
        .downcallHandle(
            library.findOrThrow(name), FunctionDescriptor.of(ValueLayout.JAVA_INT, arguments));
  }

  /**
   * Pins an array, until {@link #close}; does nothing where that cannot be done.
   *
   * @param array of {@link #longs}, {@link #floats} and the like
   */
  public void pin(TornadoNativeArray array) {
    MemorySegment memory = array.getSegmentWithHeader();
    if (memory.address() % PAGE != 0) {
      throw new IllegalArgumentException(
          "array must begin at a page, got address %d".formatted(memory.address()));
    }
    if (driver == null || KEPT.contains(array)) {
      return;
    }
    try {
      int error = enterContext(driver);
      if (error == SUCCESS) {
        error =
            (int) driver.register().invokeExact(memory, wholePages(memory.byteSize()), PORTABLE);
      }
      if (error == SUCCESS) {
        pinned.add(array);
        KEPT.add(array);
      } else {
        LOG.debug("host memory of {} bytes is not pinned: error {}", memory.byteSize(), error);
      }
    } catch (Throwable e) {
      throw unexpected(e);
    }
  }

  /** Gives this thread the context of the first one, which is in it. */
  private int enterContext(Driver of) throws Throwable {
    if (context != null) {
      return (int) of.set().invokeExact(context);
    }
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment current = arena.allocate(ValueLayout.ADDRESS);
      int error = (int) of.getContext().invokeExact(current);
      MemorySegment found = current.get(ValueLayout.ADDRESS, 0);
      if (error == SUCCESS && found.address() != 0) {
        context = found;
      }
      return error;
    }
  }

  /** Bytes pinned. */
  long bytes() {
    return pinned.stream().mapToLong(TornadoNativeArray::getNumBytesOfSegmentWithHeader).sum();
  }

  /** Gives all memory back; what the driver does not give back stays reachable for good. */
  @Override
  public void close() {
    if (driver == null || pinned.isEmpty()) {
      return;
    }
    try {
      int error = enterContext(driver);
      for (TornadoNativeArray array : pinned) {
        if (error == SUCCESS) {
          error = (int) driver.unregister().invokeExact(array.getSegmentWithHeader());
        }
        if (error == SUCCESS) {
          KEPT.remove(array);
        }
      }
      pinned.clear();
      if (error != SUCCESS) {
        LOG.warn("pinned host memory could not be given back: error {}", error);
      }
    } catch (Throwable e) {
      throw unexpected(e);
    }
  }

  private static Error unexpected(Throwable e) {
    if (e instanceof Error error) {
      return error;
    }
    return new AssertionError("the driver's functions throw nothing", e);
  }
}
