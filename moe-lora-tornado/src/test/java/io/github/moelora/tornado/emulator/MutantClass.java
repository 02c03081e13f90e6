package io.github.moelora.tornado.emulator;

import java.io.IOException;
import java.lang.classfile.ClassFile;
import java.lang.classfile.ClassModel;
import java.lang.classfile.ClassTransform;
import java.lang.classfile.CodeBuilder;
import java.lang.classfile.CodeElement;
import java.lang.classfile.CodeTransform;
import java.lang.classfile.MethodModel;
import java.lang.classfile.MethodTransform;
import java.lang.classfile.instruction.LineNumber;
import java.lang.classfile.instruction.LocalVariable;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;

/** A class of kernels, all its mutants, and their class files. */
public final class MutantClass {
  /** An array that is too large is no bug. */
  private static final Pattern ALLOCATION = Pattern.compile("LocalArray\\(|= new ");

  private final Class<?> type;
  private final ClassModel model;
  private final List<String> source;
  private final List<Mutant> mutants = new ArrayList<>();

  private MutantClass(Class<?> type, byte[] bytes, List<String> source) {
    this.type = type;
    this.source = source;
    model = ClassFile.of().parse(bytes);
    ClassFile.of().transformClass(model, transform(null, mutants));
  }

  /**
   * Reads a class and its source.
   *
   * @param sources folder of the sources
   */
  public static MutantClass read(Class<?> type, Path sources)
      throws IOException, ClassNotFoundException {
    String path = type.getName().replace('.', '/') + ".java";
    return new MutantClass(
        type, KernelLoader.read(type.getName()), Files.readAllLines(sources.resolve(path)));
  }

  Class<?> type() {
    return type;
  }

  /** All mutants, in the order of their instructions. */
  public List<Mutant> mutants() {
    return mutants;
  }

  /**
   * Class file of a mutant, or of the class as it is.
   *
   * @param next what else to change
   */
  byte[] classFile(@Nullable Mutant mutant, ClassTransform next) {
    return ClassFile.of().transformClass(model, transform(mutant, new ArrayList<>()).andThen(next));
  }

  private ClassTransform transform(@Nullable Mutant mutant, List<Mutant> found) {
    return (builder, element) -> {
      if (element instanceof MethodModel method && method.code().isPresent()) {
        Mutator mutator = new Mutator(method, mutant, found);
        builder.transformMethod(method, MethodTransform.transformingCode(mutator));
      } else {
        builder.with(element);
      }
    };
  }

  /** Copies a method's code but for the mutant's instruction, and lists all its mutants. */
  private final class Mutator implements CodeTransform {
    private final String method;
    private final @Nullable Mutant mutant;
    private final List<Mutant> found;
    private final Map<String, Integer> variables = new HashMap<>();
    private final Map<String, Integer> counts = new HashMap<>();
    private int line;

    Mutator(MethodModel method, @Nullable Mutant mutant, List<Mutant> found) {
      this.method = method.methodName().stringValue();
      this.mutant = mutant;
      this.found = found;
      for (CodeElement element : method.code().orElseThrow()) {
        if (element instanceof LocalVariable variable) {
          variables.put(variable.name().stringValue(), variable.slot());
        }
      }
    }

    @Override
    public void accept(CodeBuilder builder, CodeElement element) {
      if (element instanceof LineNumber number) {
        line = number.line();
      }
      boolean replaced = false;
      if (!method.startsWith("<")) {
        for (Mutation mutation : Mutation.of(element, variables)) {
          String text = source.get(line - 1).strip();
          if (mutation.growsOnly() && ALLOCATION.matcher(text).find()) {
            continue;
          }
          int index = found.size();
          int count = counts.merge(text + mutation.change(), 1, Integer::sum);
          found.add(
              new Mutant(type.getName(), method, line, text, mutation.change(), count, index));
          if (mutant != null && mutant.index() == index) {
            mutation.code().accept(builder);
            replaced = true;
          }
        }
      }
      if (!replaced) {
        builder.with(element);
      }
    }
  }
}
