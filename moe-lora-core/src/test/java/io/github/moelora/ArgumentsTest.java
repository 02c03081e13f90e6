package io.github.moelora;

import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assertions.assertThatIllegalStateException;
import static org.assertj.core.api.Assertions.assertThatNullPointerException;

import io.github.moelora.spi.BackendProvider;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import java.util.List;
import org.assertj.core.api.ThrowableAssert.ThrowingCallable;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

/** Whatever a caller gets wrong, the message names the argument; nothing is changed by it. */
class ArgumentsTest {
  private static final MoeModel MODEL = new MoeModel(2, 2, 2, GateUp.HALVES, List.of(0));
  private static final MoeLoraConfig CONFIG = MoeLoraConfig.of(MODEL, 2, 1).withMaxTokens(4);
  private static final Matrix ONE = Matrix.ofFloats(1, 1, 1);
  private static final MemorySegment IDS = MemorySegment.ofArray(new int[4]);
  private static final MemorySegment WEIGHTS = MemorySegment.ofArray(new float[4]);
  private static final ProjectionCall CALL = ProjectionCall.down(0);

  private final MoeLora lora = MoeLora.open(CONFIG, "cpu");
  private final Step step = lora.newStep();

  @AfterEach
  void close() {
    lora.close();
  }

  /** What callers without null checks of their own may pass. */
  @SuppressWarnings({"NullAway", "TypeParameterUnusedInFormals"})
  private static <T> T nothing() {
    return null;
  }

  private static void assertNull(String name, ThrowingCallable call) {
    assertThatNullPointerException().isThrownBy(call).withMessage(name + " must not be null");
  }

  private static void assertRefused(String message, ThrowingCallable call) {
    assertThatIllegalArgumentException().isThrownBy(call).withMessage(message);
  }

  // ---- null ----

  @Test
  void nullsOfModelsAndConfigsAreNamed() {
    List<Integer> layers = List.of(0);
    ExpertMap map = ExpertMap.identity(2);
    assertNull("gateUp", () -> new MoeModel(1, 1, 1, nothing(), layers));
    assertNull("layers", () -> new MoeModel(1, 1, 1, GateUp.HALVES, nothing()));
    assertNull(
        "layers[1]", () -> new MoeModel(1, 1, 1, GateUp.HALVES, Arrays.asList(0, nothing())));
    assertNull("projection", () -> MODEL.inputWidth((Projection) nothing()));
    assertNull("projection", () -> MODEL.outputWidth((Projection) nothing()));
    assertNull("model", () -> MoeLoraConfig.of(nothing(), 1, 1));
    assertNull("model", () -> new MoeLoraConfig(nothing(), 1, 1, 1, 1, DType.F32, map));
    assertNull("weightType", () -> CONFIG.withWeightType(nothing()));
    assertNull("expertMap", () -> CONFIG.withExpertMap(nothing()));
    assertNull("local", () -> ExpertMap.of((int[]) nothing()));
    assertNull("dense", () -> new MoeModel(1, 1, 1, GateUp.HALVES, layers, nothing()));
    assertNull("modules", () -> MODEL.withDense(nothing()));
    assertNull("name", () -> new DenseModule(nothing(), 1, 1));
    assertNull("split", () -> new DenseModule("a", 1, 1, nothing()));
    assertNull("pattern", () -> DenseModule.inLayers(nothing(), layers, 1, 1));
    assertNull("layers", () -> DenseModule.inLayers("a.*", nothing(), 1, 1));
    assertNull("projection", () -> new ProjectionCall(0, nothing(), true, true, true, 0));
  }

  @Test
  void nullsOfMatricesAndAdaptersAreNamed() {
    LoraSlice slice = new LoraSlice(0, ONE, ONE, 1);
    LoraAdapter adapter = LoraAdapter.builder("a").add(0, Projection.DOWN, 0, slice).build();
    assertNull("data", () -> Matrix.of(nothing(), DType.F32, 1, 1));
    assertNull("type", () -> Matrix.of(IDS, nothing(), 1, 1));
    assertNull("values", () -> Matrix.ofFloats(1, 1, (float[]) nothing()));
    assertNull("a", () -> new LoraSlice(0, nothing(), ONE, 1));
    assertNull("b", () -> new LoraSlice(0, ONE, nothing(), 1));
    assertNull("name", () -> LoraAdapter.builder(nothing()));
    assertNull("projection", () -> LoraAdapter.builder("a").add(0, nothing(), 0, slice));
    assertNull("slice", () -> LoraAdapter.builder("a").add(0, Projection.DOWN, 0, nothing()));
    assertNull("projection", () -> adapter.slices(0, nothing(), 0));
    assertNull("module", () -> adapter.slices((String) nothing()));
    assertNull("module", () -> adapter.ofDense(nothing()));
    assertNull("model", () -> adapter.unlistedModules(nothing()));
    assertNull("model", () -> adapter.withoutUnlisted(nothing()));
    assertNull("model", () -> adapter.shard(nothing(), Shard.WHOLE));
    assertNull("shard", () -> adapter.shard(MODEL, nothing()));
    assertNull("module", () -> LoraAdapter.builder("a").addDense(nothing(), slice));
    assertNull("slice", () -> LoraAdapter.builder("a").addDense("m", nothing()));
    assertNull("model", () -> adapter.requireFits((MoeModel) nothing()));
    assertNull("config", () -> adapter.requireFits((MoeLoraConfig) nothing()));
    assertNull("arena", () -> adapter.copyTo(nothing()));
  }

  @Test
  void nullsOfInstancesAndStepsAreNamed() {
    assertNull("config", () -> MoeLora.open(nothing()));
    assertNull("config", () -> MoeLora.open(nothing(), "cpu"));
    assertNull("backend", () -> MoeLora.open(CONFIG, (String) nothing()));
    assertNull("provider", () -> MoeLora.open(CONFIG, (BackendProvider) nothing()));
    assertNull("adapter", () -> lora.load(0, nothing()));
    assertNull("expertIds", () -> step.plan(4, nothing(), WEIGHTS, IDS));
    assertNull("routingWeights", () -> step.plan(4, IDS, nothing(), IDS));
    assertNull("adapterIds", () -> step.plan(4, IDS, WEIGHTS, nothing()));
    assertNull("adapterIds", () -> step.planDense(4, nothing()));
    step.plan(1, IDS, WEIGHTS, IDS);
    assertNull("call", () -> step.run(nothing(), ONE, ONE));
    assertNull("x", () -> step.run(CALL, nothing(), ONE));
    assertNull("y", () -> step.run(CALL, ONE, nothing()));
  }

  // ---- memory ----

  @Test
  void closedArenasAreNamed() {
    MemorySegment closed;
    LoraAdapter adapter;
    try (Arena arena = Arena.ofConfined()) {
      closed = arena.allocate(64, 4);
      adapter = adapter(Matrix.of(arena.allocate(8, 4), DType.F32, 1, 2));
    }
    assertClosed("expertIds", () -> step.plan(4, closed, WEIGHTS, IDS));
    assertClosed("routingWeights", () -> step.plan(4, IDS, closed, IDS));
    assertClosed("adapterIds", () -> step.plan(4, IDS, WEIGHTS, closed));
    step.plan(1, IDS, WEIGHTS, IDS);
    Matrix alive = Matrix.of(MemorySegment.ofArray(new float[2]), DType.F32, 1, 2);
    Matrix dead = Matrix.of(closed, DType.F32, 1, 2);
    assertClosed("x.data", () -> step.run(CALL, dead, alive));
    assertClosed("y.data", () -> step.run(CALL, alive, dead));
    assertClosed("adapter a, layer 0, DOWN, expert 0: a.data", () -> lora.load(0, adapter));
    assertClosed(
        "adapter a, layer 0, DOWN, expert 0: a.data",
        () -> adapter(Matrix.of(closed, DType.F32, 1, 2)));
    assertClosed(
        "adapter a, layer 0, DOWN, expert 0: a.data", () -> adapter.copyTo(Arena.ofAuto()));
  }

  private static void assertClosed(String name, ThrowingCallable call) {
    assertThatIllegalStateException()
        .isThrownBy(call)
        .withMessage(name + " must be alive, got memory of a closed arena");
  }

  private static LoraAdapter adapter(Matrix a) {
    return LoraAdapter.builder("a")
        .add(0, Projection.DOWN, 0, new LoraSlice(0, a, Matrix.ofFloats(2, 1, 1, 1), 1))
        .build();
  }

  @Test
  void memoryOfAnotherThreadIsNamed() throws Exception {
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment mine = arena.allocate(64, 4);
      LoraAdapter adapter = adapter(Matrix.of(arena.allocate(8, 4), DType.F32, 1, 2));
      Throwable[] failure = new Throwable[1];
      Thread other =
          Thread.ofPlatform()
              .start(
                  () -> {
                    try {
                      assertConfined("expertIds", () -> step.plan(4, mine, WEIGHTS, IDS));
                      assertConfined("routingWeights", () -> step.plan(4, IDS, mine, IDS));
                      assertConfined("adapterIds", () -> step.plan(4, IDS, WEIGHTS, mine));
                      step.plan(1, IDS, WEIGHTS, IDS);
                      Matrix good = Matrix.ofFloats(1, 2, 1, 1);
                      Matrix bad = Matrix.of(mine, DType.F32, 1, 2);
                      assertConfined("x.data", () -> step.run(CALL, bad, good));
                      assertConfined("y.data", () -> step.run(CALL, good, bad));
                      assertConfined(
                          "adapter a, layer 0, DOWN, expert 0: a.data",
                          () -> lora.load(0, adapter));
                    } catch (AssertionError e) {
                      failure[0] = e;
                    }
                  });
      other.join();
      if (failure[0] != null) {
        throw new AssertionError(failure[0]);
      }
    }
  }

  private static void assertConfined(String name, ThrowingCallable call) {
    assertRefused(
        name + " must be accessible to the calling thread, got memory confined to another one",
        call);
  }

  // ---- indexes ----

  @Test
  void indexesOutsideAreNamed() {
    ExpertMap map = ExpertMap.of(-1, 0);
    assertRefused("expert must be in [0, 2), got -1", () -> map.local(-1));
    assertRefused("expert must be in [0, 2), got 2", () -> map.local(2));
    assertRefused("localExpert must be in [0, 1), got -1", () -> map.global(-1));
    assertRefused("localExpert must be in [0, 1), got 1", () -> map.global(1));
    // the memory goes on behind the matrix
    Matrix matrix = Matrix.ofFloats(2, 3, 1, 2, 3, 4, 5, 6).columns(0, 2).rows(0, 1);
    assertRefused("row must be in [0, 1), got -1", () -> matrix.get(-1, 0));
    assertRefused("row must be in [0, 1), got 1", () -> matrix.get(1, 0));
    assertRefused("column must be in [0, 2), got -1", () -> matrix.get(0, -1));
    assertRefused("column must be in [0, 2), got 2", () -> matrix.get(0, 2));
    assertRefused("column must be in [0, 2), got 2", () -> matrix.set(0, 2, 1));
  }

  @Test
  void indexesBehindThePlanAreNamed() {
    step.plan(4, IDS, WEIGHTS, IDS);
    step.plan(1, IDS, WEIGHTS, IDS);
    Routing routing = step.routing();
    for (int wrong : new int[] {-1, 1}) {
      assertRefused("block must be in [0, 1), got " + wrong, () -> routing.blockAdapter(wrong));
      assertRefused("block must be in [0, 1), got " + wrong, () -> routing.blockExpert(wrong));
      assertRefused("pair must be in [0, 1), got " + wrong, () -> routing.routingWeight(wrong));
    }
    int rows = routing.allBlocks() * routing.blockSize();
    assertRefused(
        "position must be in [0, %d), got %d".formatted(rows, rows),
        () -> routing.sortedTokenId(rows));
    assertRefused("slot must be in [0, 2), got -1", () -> routing.namesSlot(-1));
    assertRefused("slot must be in [0, 2), got 2", () -> routing.namesSlot(2));
  }

  // ---- sizes ----

  @Test
  void sizesThatNoArrayHoldsAreNamed() {
    List<Integer> layers = List.of(0, 1);
    assertRefused(
        "layers.size() * experts must be in [1, 268435456), got 400000000",
        () -> new MoeModel(1, 1, 200_000_000, GateUp.HALVES, layers));
    assertRefused(
        "hiddenSize must be in [1, 1073741823), got 2147483647",
        () -> new MoeModel(Integer.MAX_VALUE, 1, 1, GateUp.HALVES, layers));
  }
}
