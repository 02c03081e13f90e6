package io.github.moelora.testkit.architecture;

import com.sun.source.tree.ClassTree;
import com.sun.source.tree.CompilationUnitTree;
import com.sun.source.tree.ImportTree;
import com.sun.source.tree.LineMap;
import com.sun.source.tree.MethodTree;
import com.sun.source.tree.Tree;
import com.sun.source.util.JavacTask;
import com.sun.source.util.SourcePositions;
import com.sun.source.util.TreeScanner;
import com.sun.source.util.Trees;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.List;
import java.util.Locale;
import java.util.stream.Stream;
import javax.tools.JavaCompiler;
import javax.tools.StandardJavaFileManager;
import javax.tools.ToolProvider;

/**
 * Java sources as javac's parser sees them: their methods, and their imports. Imports are read here
 * because class files lack what javac inlines, constants above all.
 *
 * @param methods of all types, constructors included; in the order of the files' names
 * @param imports of all files
 */
public record Sources(List<Method> methods, List<Import> imports) {

  /**
   * A method or constructor.
   *
   * @param packageName of its file
   * @param type simple name of the type, nested types with those around them: {@code Outer.Inner};
   *     empty for an anonymous one
   * @param name of the method, of the type for a constructor
   * @param lines from the line of its first modifier or annotation to that of its last brace, both
   *     included; comments before it do not count
   * @param parameters how many; 0 for constructors of records, which are there to have components
   * @param place file and line, for messages
   */
  public record Method(
      String packageName, String type, String name, int lines, int parameters, String place) {

    /** {@code Type.name}, which overloads share. */
    public String key() {
      return type + "." + name;
    }
  }

  /**
   * An import.
   *
   * @param packageName of the file that has it
   * @param imported what it names, qualified
   * @param place file and line, for messages
   */
  public record Import(String packageName, String imported, String place) {}

  public Sources {
    methods = List.copyOf(methods);
    imports = List.copyOf(imports);
  }

  /**
   * Parses all sources below a directory, but for {@code module-info.java}.
   *
   * @throws IllegalArgumentException if there are none
   */
  public static Sources below(Path directory) {
    List<Path> files = files(directory);
    if (files.isEmpty()) {
      throw new IllegalArgumentException("directory must hold Java sources, got " + directory);
    }
    JavaCompiler compiler = ToolProvider.getSystemJavaCompiler();
    List<Method> methods = new ArrayList<>();
    List<Import> imports = new ArrayList<>();
    try (StandardJavaFileManager manager =
        compiler.getStandardFileManager(null, Locale.ROOT, null)) {
      JavacTask task =
          (JavacTask)
              compiler.getTask(
                  null,
                  manager,
                  null,
                  List.of("-proc:none"),
                  null,
                  manager.getJavaFileObjectsFromPaths(files));
      SourcePositions positions = Trees.instance(task).getSourcePositions();
      for (CompilationUnitTree unit : task.parse()) {
        new Reader(unit, positions, methods, imports).scan(unit, null);
      }
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
    return new Sources(methods, imports);
  }

  private static List<Path> files(Path directory) {
    try (Stream<Path> tree = Files.walk(directory)) {
      return tree.filter(file -> file.toString().endsWith(".java"))
          .filter(file -> !file.endsWith("module-info.java"))
          .sorted()
          .toList();
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /** Collects the methods and imports of one file. */
  private static final class Reader extends TreeScanner<Void, Void> {
    private final CompilationUnitTree unit;
    private final SourcePositions positions;
    private final List<Method> methods;
    private final List<Import> imports;
    private final String packageName;
    private final Deque<String> types = new ArrayDeque<>();
    private final Deque<Tree.Kind> kinds = new ArrayDeque<>();

    Reader(
        CompilationUnitTree unit,
        SourcePositions positions,
        List<Method> methods,
        List<Import> imports) {
      this.unit = unit;
      this.positions = positions;
      this.methods = methods;
      this.imports = imports;
      packageName = unit.getPackageName() == null ? "" : unit.getPackageName().toString();
    }

    @Override
    public Void visitImport(ImportTree tree, Void unused) {
      imports.add(
          new Import(packageName, tree.getQualifiedIdentifier().toString(), place(first(tree))));
      return super.visitImport(tree, null);
    }

    @Override
    public Void visitClass(ClassTree tree, Void unused) {
      types.addLast(tree.getSimpleName().toString());
      kinds.addLast(tree.getKind());
      super.visitClass(tree, null);
      types.removeLast();
      kinds.removeLast();
      return null;
    }

    @Override
    public Void visitMethod(MethodTree tree, Void unused) {
      long first = first(tree);
      long last = unit.getLineMap().getLineNumber(positions.getEndPosition(unit, tree));
      boolean constructor = tree.getName().contentEquals("<init>");
      boolean ofRecord = constructor && kinds.getLast() == Tree.Kind.RECORD;
      methods.add(
          new Method(
              packageName,
              String.join(".", types),
              constructor ? types.getLast() : tree.getName().toString(),
              Math.toIntExact(last - first + 1),
              ofRecord ? 0 : tree.getParameters().size(),
              place(first)));
      return super.visitMethod(tree, null);
    }

    private long first(Tree tree) {
      LineMap lines = unit.getLineMap();
      return lines.getLineNumber(positions.getStartPosition(unit, tree));
    }

    private String place(long line) {
      return Path.of(unit.getSourceFile().getName()) + ":" + line;
    }
  }
}
