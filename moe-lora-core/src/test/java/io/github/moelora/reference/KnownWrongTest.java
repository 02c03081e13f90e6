package io.github.moelora.reference;

import static org.assertj.core.api.Assertions.assertThat;

import io.github.moelora.DType;
import io.github.moelora.DenseModule;
import io.github.moelora.GateUp;
import io.github.moelora.LoraAdapter;
import io.github.moelora.LoraSlice;
import io.github.moelora.Matrix;
import io.github.moelora.MoeModel;
import io.github.moelora.Projection;
import io.github.moelora.ProjectionCall;
import io.github.moelora.testkit.Operands;
import io.github.moelora.testkit.Problem;
import io.github.moelora.testkit.Rounded;
import io.github.moelora.testkit.Seeds;
import java.util.EnumSet;
import java.util.List;
import java.util.Objects;
import java.util.Set;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/**
 * An oracle that accepts everything proves nothing: the right computation in float32 stays within
 * the bound, and each of a list of wrong ones exceeds it.
 */
class KnownWrongTest {
  private static final int EXPERTS = 4;
  private static final int EXPERTS_PER_TOKEN = 2;
  private static final int RANK = 8;
  private static final int SLOTS = 2;

  /** What is done wrong. */
  enum Wrong {
    NOTHING,
    B_READ_EXPERT_MAJOR,
    B_READ_TRANSPOSED,
    A_OF_THE_NEIGHBOUR_EXPERT,
    B_OF_THE_NEIGHBOUR_EXPERT,
    WEIGHTS_OF_THE_NEIGHBOUR_SLOT,
    GATE_AND_UP_EXCHANGED,
    SCALE_MISSING,
    SCALE_TWICE,
    SCALE_ONE_PERCENT_OFF,
    Z_ROUNDED_TO_F16,
    Z_ROUNDED_TO_BF16,
    LAST_INPUT_COLUMN_MISSING,
    LAST_RANK_MISSING,
    LAST_OUTPUT_COLUMN_MISSING,
    FIRST_INPUT_COLUMN_TWICE,
    ROUTED_WEIGHT_MISSING,
    ROUTED_WEIGHT_TWICE,
    ROUTED_WEIGHT_OF_THE_NEIGHBOUR_PAIR,
    X_ROW_OF_THE_NEIGHBOUR,
    X_ROUNDED_TO_BF16,
    WRITES_INSTEAD_OF_ADDING,
    ADDS_TWICE,
    COLUMN_OFFSET_IGNORED,
    TOKENS_WITHOUT_ADAPTER_USE_SLOT_0,
    PAIRS_WITHOUT_WORK_ARE_ZEROED,
    PAIRS_WITHOUT_WORK_ADD_ZERO,
    ONE_COLUMN_TOO_MANY,
    LAST_PAIR_MISSING,
    // dense modules alone
    WEIGHTS_OF_THE_NEIGHBOUR_MODULE,
    ADAPTERS_AS_OF_PAIRS,
    X_ROWS_AS_OF_PAIRS
  }

  private static final Set<Wrong> OF_DENSE_MODULES =
      EnumSet.of(
          Wrong.WEIGHTS_OF_THE_NEIGHBOUR_MODULE,
          Wrong.ADAPTERS_AS_OF_PAIRS,
          Wrong.X_ROWS_AS_OF_PAIRS);

  /** What cannot go wrong where there is one expert and no routing weight. */
  private static final Set<Wrong> OF_EXPERTS =
      EnumSet.of(
          Wrong.B_READ_EXPERT_MAJOR,
          Wrong.A_OF_THE_NEIGHBOUR_EXPERT,
          Wrong.B_OF_THE_NEIGHBOUR_EXPERT,
          Wrong.GATE_AND_UP_EXCHANGED,
          Wrong.ROUTED_WEIGHT_MISSING,
          Wrong.ROUTED_WEIGHT_TWICE,
          Wrong.ROUTED_WEIGHT_OF_THE_NEIGHBOUR_PAIR);

  private final MoeModel model =
      new MoeModel(40, 24, EXPERTS, GateUp.HALVES, List.of(0))
          .withDense(List.of(new DenseModule("k", 40, 16), new DenseModule("v", 40, 16)));
  private final Problem problem = new Problem(Seeds.of("KnownWrong"), model, 9, EXPERTS_PER_TOKEN);

  KnownWrongTest() {
    for (int slot = 0; slot < SLOTS; slot++) {
      problem.addAdapter(adapter());
    }
    problem.route();
    // some of each kind, whatever the dice say
    problem.adapterIds()[0] = -1;
    problem.adapterIds()[1] = 0;
    problem.adapterIds()[2] = 1;
    problem.adapterIds()[8] = 1;
  }

  /** B of all experts in one matrix {@code [O, R * E]}, rank slowest, as PEFT keeps fused ones. */
  private LoraAdapter adapter() {
    LoraAdapter.Builder builder = LoraAdapter.builder("fused");
    for (Projection projection : Projection.values()) {
      int slices = projection == Projection.GATE_UP ? 2 : 1;
      int width = model.outputWidth(projection) / slices;
      for (int s = 0; s < slices; s++) {
        Matrix b = problem.random(width, RANK * EXPERTS, DType.F32);
        for (int e = 0; e < EXPERTS; e++) {
          builder.add(
              0,
              projection,
              e,
              new LoraSlice(
                  s * width,
                  problem.random(RANK, model.inputWidth(projection), DType.F32),
                  new Matrix(b.data(), DType.F32, width, RANK, e, RANK * EXPERTS, EXPERTS),
                  1.5f));
        }
      }
    }
    for (DenseModule module : model.dense()) {
      builder.addDense(
          module.name(), problem.slice(0, RANK, module.inputWidth(), module.outputWidth()));
    }
    return builder.build();
  }

  @ParameterizedTest
  @EnumSource(Wrong.class)
  void wrongComputationsExceedTheBound(Wrong wrong) {
    if (!OF_DENSE_MODULES.contains(wrong)) {
      requireFound(
          wrong,
          switch (wrong) {
            case GATE_AND_UP_EXCHANGED, COLUMN_OFFSET_IGNORED ->
                ProjectionCall.gateUp(0).withColumnOffset(2);
            default -> ProjectionCall.down(0);
          });
    }
    if (!OF_EXPERTS.contains(wrong)) {
      requireFound(wrong, ProjectionCall.dense(0).withColumnOffset(2));
    }
  }

  private void requireFound(Wrong wrong, ProjectionCall call) {
    for (boolean add : new boolean[] {true, false}) {
      if (!add && changesOnlyWhatIsAdded(wrong)) {
        continue;
      }
      Operands operands = problem.operands(add ? call : call.deltaOnly());
      Matrix y = operands.y();
      compute(operands.call(), operands.x(), y, wrong);
      if (wrong == Wrong.NOTHING) {
        operands.check(y);
        assertThat(operands.worst(y)).isLessThanOrEqualTo(1);
      } else {
        assertThat(operands.worst(y)).as("%s, %s", wrong, operands.call()).isGreaterThan(1);
      }
    }
  }

  /** In delta-only mode there is nothing in y that these could spoil. */
  private static boolean changesOnlyWhatIsAdded(Wrong wrong) {
    return wrong == Wrong.WRITES_INSTEAD_OF_ADDING
        || wrong == Wrong.PAIRS_WITHOUT_WORK_ARE_ZEROED
        || wrong == Wrong.PAIRS_WITHOUT_WORK_ADD_ZERO;
  }

  /** The definition in float32, with one thing wrong. */
  private void compute(ProjectionCall call, Matrix x, Matrix y, Wrong wrong) {
    int pairs = problem.pairs(call) - (wrong == Wrong.LAST_PAIR_MISSING ? 1 : 0);
    int width = model.outputWidth(call);
    int offset = wrong == Wrong.COLUMN_OFFSET_IGNORED ? 0 : call.columnOffset();
    for (int p = 0; p < pairs; p++) {
      if (!call.add()) {
        for (int c = 0; c < width; c++) {
          y.set(p, offset + c, 0);
        }
      }
      boolean pairsOfTokens = !call.isDense() || wrong == Wrong.ADAPTERS_AS_OF_PAIRS;
      int slot = problem.adapterIds()[pairsOfTokens ? p / EXPERTS_PER_TOKEN : p];
      if (slot < 0 && wrong == Wrong.TOKENS_WITHOUT_ADAPTER_USE_SLOT_0) {
        slot = 0;
      }
      if (slot < 0) {
        for (int c = 0; c < width; c++) {
          if (wrong == Wrong.PAIRS_WITHOUT_WORK_ARE_ZEROED) {
            y.set(p, offset + c, 0);
          } else if (wrong == Wrong.PAIRS_WITHOUT_WORK_ADD_ZERO) {
            y.set(p, offset + c, y.get(p, offset + c) + 0f);
          }
        }
        continue;
      }
      if (wrong == Wrong.WEIGHTS_OF_THE_NEIGHBOUR_SLOT) {
        slot = (slot + 1) % SLOTS;
      }
      ProjectionCall read =
          wrong == Wrong.WEIGHTS_OF_THE_NEIGHBOUR_MODULE
              ? ProjectionCall.dense(1 - call.module())
              : call;
      for (LoraSlice slice : slices(slot, read, problem.expertIds()[p])) {
        computeSlice(call, x, y, wrong, p, slot, slice, offset);
      }
    }
  }

  private List<LoraSlice> slices(int slot, ProjectionCall call, int expert) {
    return Objects.requireNonNull(problem.adapters().get(slot)).slices(model, call, expert);
  }

  private void computeSlice(
      ProjectionCall call,
      Matrix x,
      Matrix y,
      Wrong wrong,
      int p,
      int slot,
      LoraSlice slice,
      int offset) {
    int expert = problem.expertIds()[p];
    int index = slice.firstColumn() > 0 ? 1 : 0;
    LoraSlice neighbour = slices(slot, call, (expert + 1) % EXPERTS).get(index);
    LoraSlice other =
        wrong == Wrong.GATE_AND_UP_EXCHANGED ? slices(slot, call, expert).get(1 - index) : slice;
    Matrix a = wrong == Wrong.A_OF_THE_NEIGHBOUR_EXPERT ? neighbour.a() : other.a();
    Matrix b = wrong == Wrong.B_OF_THE_NEIGHBOUR_EXPERT ? neighbour.b() : other.b();
    boolean rowOfPair = call.pairRows() || (call.isDense() && wrong != Wrong.X_ROWS_AS_OF_PAIRS);
    int row = rowOfPair ? p : p / EXPERTS_PER_TOKEN;
    if (wrong == Wrong.X_ROW_OF_THE_NEIGHBOUR) {
      row = row == 0 ? 1 : row - 1;
    }
    float[] z = new float[RANK];
    int inputs = a.columns() - (wrong == Wrong.LAST_INPUT_COLUMN_MISSING ? 1 : 0);
    for (int r = 0; r < RANK - (wrong == Wrong.LAST_RANK_MISSING ? 1 : 0); r++) {
      for (int h = 0; h < inputs; h++) {
        float value = x.get(row, h);
        if (wrong == Wrong.X_ROUNDED_TO_BF16) {
          value = (float) Rounded.nearest(value, DType.BF16);
        }
        z[r] += a.get(r, h) * value;
      }
      if (wrong == Wrong.FIRST_INPUT_COLUMN_TWICE) {
        z[r] += a.get(r, 0) * x.get(row, 0);
      }
      z[r] =
          switch (wrong) {
            case Z_ROUNDED_TO_F16 -> (float) Rounded.nearest(z[r], DType.F16);
            case Z_ROUNDED_TO_BF16 -> (float) Rounded.nearest(z[r], DType.BF16);
            default -> z[r];
          };
    }
    float factor = scale(slice.scale(), wrong) * weight(call, p, wrong);
    int columns =
        b.rows()
            + (wrong == Wrong.LAST_OUTPUT_COLUMN_MISSING ? -1 : 0)
            + (wrong == Wrong.ONE_COLUMN_TOO_MANY ? 1 : 0);
    for (int o = 0; o < columns; o++) {
      float sum = 0;
      for (int r = 0; r < RANK; r++) {
        sum += b(b, Math.min(o, b.rows() - 1), r, expert, wrong) * z[r];
      }
      int c = offset + slice.firstColumn() + o;
      float old = wrong == Wrong.WRITES_INSTEAD_OF_ADDING ? 0 : y.get(p, c);
      float delta = factor * sum;
      y.set(p, c, old + (wrong == Wrong.ADDS_TWICE ? delta + delta : delta));
    }
  }

  private static float b(Matrix b, int o, int r, int expert, Wrong wrong) {
    return switch (wrong) {
      case B_READ_EXPERT_MAJOR -> b.type().get(b.data(), ((long) o * EXPERTS + expert) * RANK + r);
      case B_READ_TRANSPOSED -> {
        int flat = r * b.rows() + o;
        yield b.get(flat / RANK, flat % RANK);
      }
      default -> b.get(o, r);
    };
  }

  private static float scale(float scale, Wrong wrong) {
    return switch (wrong) {
      case SCALE_MISSING -> 1;
      case SCALE_TWICE -> scale * scale;
      case SCALE_ONE_PERCENT_OFF -> scale * 1.01f;
      default -> scale;
    };
  }

  private float weight(ProjectionCall call, int p, Wrong wrong) {
    if (!call.routedWeight()) {
      return 1;
    }
    float weight = problem.routingWeights()[p];
    return switch (wrong) {
      case ROUTED_WEIGHT_MISSING -> 1;
      case ROUTED_WEIGHT_TWICE -> weight * weight;
      case ROUTED_WEIGHT_OF_THE_NEIGHBOUR_PAIR -> problem.routingWeights()[p ^ 1];
      default -> weight;
    };
  }
}
