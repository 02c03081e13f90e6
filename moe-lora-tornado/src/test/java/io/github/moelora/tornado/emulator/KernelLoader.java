package io.github.moelora.tornado.emulator;

import java.io.IOException;
import java.io.InputStream;
import java.lang.classfile.ClassFile;
import java.lang.classfile.ClassTransform;
import java.lang.classfile.CodeTransform;
import java.lang.classfile.constantpool.ClassEntry;
import java.lang.classfile.constantpool.PoolEntry;
import java.lang.reflect.Method;
import java.util.ArrayDeque;
import java.util.Arrays;
import java.util.Deque;
import java.util.HashSet;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import org.jspecify.annotations.Nullable;

/**
 * Loads kernels as the device understands them, see {@link KernelTransform}, one of their classes
 * maybe as a mutant. All classes of the rooms whose code runs on the device are loaded anew.
 */
public final class KernelLoader extends ClassLoader {
  private static final KernelLoader PLAIN = new KernelLoader(null, null);

  /**
   * Rooms whose classes are loaded anew: the kernels, and all that runs on the device with them.
   */
  private static final Set<String> ROOMS =
      Set.of(
          "io.github.moelora.tornado.device",
          "io.github.moelora.tornado.layout",
          "io.github.moelora.tornado.kernels");

  /** Names of the classes of each kernel, by that of its own. */
  private static final Map<String, Set<String>> PARTS = new ConcurrentHashMap<>();

  /** Class files without a mutant, which each loader needs anew. */
  private static final Map<String, byte[]> TRANSFORMED = new ConcurrentHashMap<>();

  private static final ClassTransform TRANSFORM =
      ClassTransform.transformingMethodBodies(CodeTransform.ofStateful(KernelTransform::new));

  private final @Nullable MutantClass original;
  private final @Nullable Mutant mutant;

  private KernelLoader(@Nullable MutantClass original, @Nullable Mutant mutant) {
    super(KernelLoader.class.getClassLoader());
    this.original = original;
    this.mutant = mutant;
  }

  /** The loader of kernels without a bug, shared so that they are compiled once. */
  static KernelLoader plain() {
    return PLAIN;
  }

  /**
   * A loader of a mutant.
   *
   * @param mutant null for the class as it is
   */
  public static KernelLoader of(MutantClass original, @Nullable Mutant mutant) {
    return new KernelLoader(original, mutant);
  }

  /** Whether a kernel is of the mutated class, or has stages of it. */
  public boolean mutates(Method kernel) {
    return original != null
        && parts(kernel.getDeclaringClass()).contains(original.type().getName());
  }

  /** Names of the classes of a kernel: its own, and those of the rooms that it needs. */
  public static Set<String> parts(Class<?> kernel) {
    return PARTS.computeIfAbsent(kernel.getName(), KernelLoader::parts);
  }

  private static Set<String> parts(String kernel) {
    Set<String> parts = new HashSet<>(Set.of(kernel));
    Deque<String> left = new ArrayDeque<>(parts);
    while (!left.isEmpty()) {
      for (PoolEntry entry : ClassFile.of().parse(bytes(left.remove())).constantPool()) {
        if (entry instanceof ClassEntry used) {
          String name = used.asInternalName().replace('/', '.');
          if (isOfRooms(name) && parts.add(name)) {
            left.add(name);
          }
        }
      }
    }
    return Set.copyOf(parts);
  }

  private static byte[] transformed(String name) {
    return ClassFile.of().transformClass(ClassFile.of().parse(bytes(name)), TRANSFORM);
  }

  private static byte[] bytes(String name) {
    try {
      return read(name);
    } catch (ClassNotFoundException e) {
      throw new IllegalStateException(e);
    }
  }

  /** This loader's version of a kernel. */
  public Method kernel(Method kernel) {
    try {
      return Arrays.stream(loadClass(kernel.getDeclaringClass().getName()).getDeclaredMethods())
          .filter(method -> method.getName().equals(kernel.getName()))
          .filter(method -> method.getParameterCount() == kernel.getParameterCount())
          .findFirst()
          .orElseThrow();
    } catch (ClassNotFoundException e) {
      throw new IllegalStateException(e);
    }
  }

  /** Sets how many backward branches may still be taken. */
  public void allow(long branches) {
    try {
      guard().getMethod("allow", long.class).invoke(null, branches);
    } catch (ReflectiveOperationException e) {
      throw new IllegalStateException(e);
    }
  }

  /** How many backward branches may still be taken. */
  public long left() {
    try {
      return (long) guard().getMethod("left").invoke(null);
    } catch (ReflectiveOperationException e) {
      throw new IllegalStateException(e);
    }
  }

  private Class<?> guard() throws ClassNotFoundException {
    return loadClass(LoopGuard.class.getName());
  }

  @Override
  protected Class<?> loadClass(String name, boolean resolve) throws ClassNotFoundException {
    synchronized (getClassLoadingLock(name)) {
      Class<?> loaded = isAnew(name) ? findLoadedClass(name) : super.loadClass(name, resolve);
      return loaded == null ? define(name) : loaded;
    }
  }

  private static boolean isAnew(String name) {
    return name.equals(LoopGuard.class.getName()) || isOfRooms(name);
  }

  private static boolean isOfRooms(String name) {
    return ROOMS.contains(name.substring(0, Math.max(0, name.lastIndexOf('.'))));
  }

  private Class<?> define(String name) throws ClassNotFoundException {
    byte[] bytes;
    if (original != null && name.equals(original.type().getName())) {
      bytes = original.classFile(mutant, TRANSFORM);
    } else if (name.equals(LoopGuard.class.getName())) {
      bytes = read(name);
    } else {
      bytes = TRANSFORMED.computeIfAbsent(name, KernelLoader::transformed);
    }
    return defineClass(name, bytes, 0, bytes.length);
  }

  static byte[] read(String name) throws ClassNotFoundException {
    ClassLoader loader = KernelLoader.class.getClassLoader();
    try (InputStream in = loader.getResourceAsStream(name.replace('.', '/') + ".class")) {
      if (in == null) {
        throw new ClassNotFoundException(name);
      }
      return in.readAllBytes();
    } catch (IOException e) {
      throw new ClassNotFoundException(name, e);
    }
  }
}
