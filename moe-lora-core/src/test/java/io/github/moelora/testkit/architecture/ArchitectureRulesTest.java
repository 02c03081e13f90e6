package io.github.moelora.testkit.architecture;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatCode;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.tngtech.archunit.core.domain.JavaClasses;
import com.tngtech.archunit.core.importer.ClassFileImporter;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The rules must find what breaks them, and say where and what to do. */
class ArchitectureRulesTest {
  private static final String CODE =
      """
      package house.attic;

      import house.cellar.Shelf;
      import static house.hall.Door.WIDTH;

      /** Comment. */
      class Box {
        /** Not counted. */
        @Deprecated
        Box(int a,
            int b) {
          // counted
        }

        record Lid(int a, int b) {
          Lid {
            a = 1;
          }

          void close(int how) {}
        }
      }
      """;

  @TempDir private Path directory;

  private Sources sources() throws IOException {
    Files.writeString(directory.resolve("Box.java"), CODE);
    return Sources.below(directory);
  }

  @Test
  void readsMethodsAndImports() throws IOException {
    Sources sources = sources();
    String file = directory.resolve("Box.java").toString();
    assertThat(sources.methods())
        .containsExactly(
            new Sources.Method("house.attic", "Box", "Box", 5, 2, file + ":9"),
            new Sources.Method("house.attic", "Box.Lid", "Lid", 3, 0, file + ":16"),
            new Sources.Method("house.attic", "Box.Lid", "close", 1, 1, file + ":20"));
    assertThat(sources.imports())
        .containsExactly(
            new Sources.Import("house.attic", "house.cellar.Shelf", file + ":3"),
            new Sources.Import("house.attic", "house.hall.Door.WIDTH", file + ":4"));
    assertThatThrownBy(() -> Sources.below(Files.createDirectory(directory.resolve("empty"))))
        .isInstanceOf(IllegalArgumentException.class);
  }

  @Test
  void limitsNameTheMethodAndTheRemedy() throws IOException {
    List<Sources.Method> methods = sources().methods();
    assertThatThrownBy(() -> MethodLimit.lines(4).check(methods))
        .isInstanceOf(AssertionError.class)
        .hasMessageContaining(
            "Box.java:9: Box.Box must have at most 4 lines, got 5: name its steps");
    assertThatThrownBy(() -> MethodLimit.parameters(1).check(methods))
        .hasMessageContaining("Box.Box must have at most 1 parameters, got 2: put those");
    assertThatCode(() -> MethodLimit.lines(5).check(methods)).doesNotThrowAnyException();
    assertThatCode(() -> MethodLimit.lines(4).except("Box.Box", "because").check(methods))
        .doesNotThrowAnyException();
  }

  @Test
  void exceptionsNeedAReasonAndAMethod() throws IOException {
    List<Sources.Method> methods = sources().methods();
    assertThatThrownBy(() -> MethodLimit.lines(5).except("Box.Box", "because").check(methods))
        .isInstanceOf(AssertionError.class)
        .hasMessage("Box.Box: no method of that name has more than 5 lines: delete the exception");
    assertThatThrownBy(() -> MethodLimit.lines(5).except("Box.Box", " "))
        .isInstanceOf(IllegalArgumentException.class);
  }

  @Test
  void importsMustFollowTheTable() throws IOException {
    Sources sources = sources();
    Rooms rooms = Rooms.below("house").room("cellar").room("hall").room("attic", "cellar");
    assertThatThrownBy(() -> rooms.checkImports(sources))
        .isInstanceOf(AssertionError.class)
        .hasMessageContaining("Box.java:4 imports house.hall.Door.WIDTH, but room 'attic' may use")
        .hasMessageNotContaining("Shelf");
    Rooms complete =
        Rooms.below("house").room("cellar").room("hall").room("attic", "cellar", "hall");
    assertThatCode(() -> complete.checkImports(sources)).doesNotThrowAnyException();
    Rooms few = Rooms.below("house").room("cellar").room("attic", "cellar");
    assertThatThrownBy(() -> few.checkImports(sources))
        .hasMessageContaining("package house.hall must be in the table of rooms");
    Rooms generous =
        Rooms.below("house")
            .room("")
            .room("cellar")
            .room("hall")
            .room("attic", "", "cellar", "hall");
    JavaClasses none = new ClassFileImporter().importClasses();
    assertThatThrownBy(() -> generous.checkNeeded(none, sources))
        .isInstanceOf(AssertionError.class)
        .hasMessage("room 'attic' uses nothing of '': delete it from the row");
    assertThatCode(() -> complete.checkNeeded(none, sources)).doesNotThrowAnyException();
  }

  @Test
  void classesMustFollowTheTable() {
    var classes = new ClassFileImporter().importClasses(ArchitectureRulesTest.class, Rooms.class);
    String base = "io.github.moelora.testkit";
    assertThatCode(() -> Rooms.below(base).room("architecture").check(classes))
        .doesNotThrowAnyException();
    Rooms rooms = Rooms.below("com.tngtech.archunit.core").room("domain").room("importer");
    assertThatThrownBy(
            () -> rooms.check(new ClassFileImporter().importClasses(ClassFileImporter.class)))
        .isInstanceOf(AssertionError.class)
        .hasMessageContaining("but room 'importer' may use [] alone");
  }

  @Test
  void aRoomUsesThoseBeforeIt() {
    assertThatThrownBy(() -> Rooms.below("house").room("attic", "cellar"))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessage("room must be one of [], got cellar");
    Rooms rooms = Rooms.below("house").room("attic").room("cellar", "attic");
    assertThatThrownBy(() -> rooms.circle("attic", "cellar", ""))
        .isInstanceOf(IllegalArgumentException.class);
  }
}
