package io.github.moelora.tornado.emulator;

import java.lang.foreign.MemorySegment;
import java.lang.invoke.MethodHandle;
import java.lang.invoke.MethodHandles;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import org.jspecify.annotations.Nullable;
import uk.ac.manchester.tornado.api.KernelContext;
import uk.ac.manchester.tornado.api.types.arrays.HalfFloatArray;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;
import uk.ac.manchester.tornado.api.types.arrays.LongArray;
import uk.ac.manchester.tornado.api.types.arrays.TornadoNativeArray;

/**
 * A task as production code added it to a graph.
 *
 * @param task its name
 * @param kernel the static method that it runs
 * @param arguments as given, the context among them
 * @param groups work-groups of its grid
 * @param threads threads of a work-group
 */
public record Launch(String task, Method kernel, List<Object> arguments, int groups, int threads) {

  /** As an int no index of anything, as a float or a float16 too large to be added to anything. */
  private static final byte HEADER_POISON = 0x7f;

  private static final Map<Class<?>, Method> KERNELS = new ConcurrentHashMap<>();

  /** Runs the task on the emulated device. */
  public void run(long seed) {
    run(KernelLoader.plain().kernel(kernel), seed, true);
  }

  /** Runs the task with a mutant of the kernel if {@code loader} has one. */
  public void run(KernelLoader loader, long seed) {
    KernelLoader used = loader.mutates(kernel) ? loader : KernelLoader.plain();
    run(used.kernel(kernel), seed, false);
  }

  private void run(Method method, long seed, boolean exact) {
    MethodHandle handle = spread(method);
    Object[] actual = arguments.toArray();
    Class<?>[] types = method.getParameterTypes();
    for (int i = 0; i < actual.length; i++) {
      if (actual[i] instanceof TornadoNativeArray array) {
        spoilHeader(array);
        actual[i] = types[i].isInstance(array) ? array : view(array, types[i]);
      }
    }
    Emulator.launch(groups, threads, seed, exact, context -> call(handle, actual, context));
  }

  /**
   * Java does not see that a negative index reaches into the header, but what it finds is wrong.
   */
  private static void spoilHeader(TornadoNativeArray array) {
    array.getSegmentWithHeader().asSlice(0, TornadoNativeArray.ARRAY_HEADER).fill(HEADER_POISON);
  }

  private static MethodHandle spread(Method method) {
    try {
      method.setAccessible(true);
      return MethodHandles.lookup()
          .unreflect(method)
          .asSpreader(Object[].class, method.getParameterCount());
    } catch (IllegalAccessException e) {
      throw new IllegalStateException(e);
    }
  }

  /** The memory of an array as another type, which is all that a device sees of it. */
  private static Object view(TornadoNativeArray array, Class<?> type) {
    MemorySegment memory = array.getSegmentWithHeader();
    if (type == LongArray.class) {
      return LongArray.fromSegmentShallow(memory);
    } else if (type == IntArray.class) {
      return IntArray.fromSegmentShallow(memory);
    } else if (type == HalfFloatArray.class) {
      return HalfFloatArray.fromSegmentShallow(memory);
    }
    throw new IllegalArgumentException(
        "%s must be seen as long, int or half, got %s".formatted(array.getClass(), type));
  }

  private static void call(MethodHandle handle, Object[] arguments, KernelContext context) {
    Object[] actual = arguments.clone();
    for (int i = 0; i < actual.length; i++) {
      if (actual[i] instanceof KernelContext) {
        actual[i] = context;
      }
    }
    try {
      handle.invoke(actual);
    } catch (RuntimeException | Error e) {
      throw e;
    } catch (Throwable e) {
      throw new IllegalStateException("kernels throw no checked exception", e);
    }
  }

  /**
   * The method behind a method reference. A reference does not tell, so it is called with nulls for
   * all arrays: the kernel is where the trace of the exception begins. Once for each reference,
   * before the kernel runs, because compiled code may throw without a trace.
   */
  static Method kernelOf(Object reference, List<Object> arguments) {
    return KERNELS.computeIfAbsent(reference.getClass(), type -> probe(reference, arguments));
  }

  private static Method probe(Object reference, List<Object> arguments) {
    Method apply =
        Arrays.stream(reference.getClass().getInterfaces()[0].getMethods())
            .filter(method -> method.getName().equals("apply"))
            .findFirst()
            .orElseThrow();
    @Nullable Object[] nulls = arguments.toArray();
    for (int i = 0; i < nulls.length; i++) {
      if (!(nulls[i] instanceof Number)) {
        nulls[i] = null;
      }
    }
    try {
      apply.setAccessible(true);
      apply.invoke(reference, nulls);
    } catch (InvocationTargetException e) {
      return outermost(e.getTargetException().getStackTrace(), arguments.size());
    } catch (IllegalAccessException e) {
      throw new IllegalStateException(e);
    }
    throw new IllegalStateException("kernel must use its arrays: " + reference);
  }

  private static Method outermost(StackTraceElement[] trace, int parameters) {
    StackTraceElement kernel =
        Arrays.stream(trace)
            .takeWhile(frame -> !frame.getClassName().startsWith("jdk.internal.reflect."))
            .reduce((inner, outer) -> outer)
            .orElseThrow();
    try {
      return Arrays.stream(Class.forName(kernel.getClassName()).getDeclaredMethods())
          .filter(method -> method.getName().equals(kernel.getMethodName()))
          .filter(method -> method.getParameterCount() == parameters)
          .findFirst()
          .orElseThrow();
    } catch (ClassNotFoundException e) {
      throw new IllegalStateException(e);
    }
  }
}
