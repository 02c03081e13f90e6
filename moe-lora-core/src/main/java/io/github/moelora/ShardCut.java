package io.github.moelora;

import io.github.moelora.LoraAdapter.ExpertSite;
import io.github.moelora.LoraAdapter.ModuleSite;
import io.github.moelora.LoraAdapter.Site;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/**
 * Cuts the slices of an adapter on a whole model to what one shard computes, as views. Immutable.
 */
final class ShardCut {

  /** Columns of the whole output that a shard has, from its column {@code to} on. */
  private record Columns(int from, int count, int to) {}

  /** What a shard has of a linear layer, whose whole widths are kept for the check of slices. */
  private record Cut(
      int wholeInput, int wholeOutput, int inputFrom, int inputCount, List<Columns> outputs) {

    List<LoraSlice> of(Site site, LoraSlice slice) {
      if (slice.a().columns() != wholeInput) {
        throw new IllegalArgumentException(
            "%s: a.columns must be %d, got %d".formatted(site, wholeInput, slice.a().columns()));
      }
      if (slice.endColumn() > wholeOutput) {
        throw new IllegalArgumentException(
            "%s: firstColumn + b.rows must be at most %d, got %d"
                .formatted(site, wholeOutput, slice.endColumn()));
      }
      List<LoraSlice> cut = new ArrayList<>(1);
      for (Columns columns : outputs) {
        int from = Math.max(slice.firstColumn(), columns.from());
        int end = Math.min(slice.endColumn(), columns.from() + columns.count());
        if (from < end) {
          cut.add(
              new LoraSlice(
                  columns.to() + from - columns.from(),
                  slice.a().columns(inputFrom, inputCount),
                  slice.b().rows(from - slice.firstColumn(), end - from),
                  slice.scale()));
        }
      }
      return cut;
    }
  }

  private final Cut gateUp;
  private final Cut down;
  private final Map<String, Cut> modules = new HashMap<>();

  /**
   * @param model the whole model
   * @throws IllegalArgumentException if a width that is cut is no multiple of the shards
   */
  ShardCut(MoeModel model, Shard shard) {
    int hidden = model.hiddenSize();
    int intermediate = model.intermediateSize();
    int share = shard.share("intermediateSize", intermediate);
    int first = shard.index() * share;
    List<Columns> columns =
        switch (model.gateUp()) {
          case UP_ONLY -> List.of(new Columns(first, share, 0));
          case HALVES -> halves(intermediate, first, share);
          case INTERLEAVED -> List.of(new Columns(2 * first, 2 * share, 0));
        };
    gateUp = new Cut(hidden, model.outputWidth(Projection.GATE_UP), 0, hidden, columns);
    down = new Cut(intermediate, hidden, first, share, List.of(new Columns(0, hidden, 0)));
    for (DenseModule module : model.dense()) {
      modules.put(module.name(), cut(module, shard));
    }
  }

  /** The same columns of both halves. */
  private static List<Columns> halves(int half, int first, int share) {
    return List.of(new Columns(first, share, 0), new Columns(half + first, share, share));
  }

  private static Cut cut(DenseModule module, Shard shard) {
    int in = module.inputWidth();
    int out = module.outputWidth();
    DenseModule part = module.shard(shard);
    int first = shard.index() * part.outputWidth();
    List<Columns> all = List.of(new Columns(0, out, 0));
    return switch (module.split()) {
      case NONE -> new Cut(in, out, 0, in, all);
      case INPUT -> new Cut(in, out, shard.index() * part.inputWidth(), part.inputWidth(), all);
      case OUTPUT -> new Cut(in, out, 0, in, List.of(new Columns(first, part.outputWidth(), 0)));
      case OUTPUT_HALVES ->
          new Cut(in, out, 0, in, halves(out / 2, first / 2, part.outputWidth() / 2));
    };
  }

  /**
   * The parts of a slice, one of each half that it covers; of a module that the model does not
   * list, all.
   *
   * @throws IllegalArgumentException if the slice does not fit the whole model
   */
  List<LoraSlice> parts(Site site, LoraSlice slice) {
    Cut cut =
        switch (site) {
          case ExpertSite expert -> expert.projection() == Projection.GATE_UP ? gateUp : down;
          case ModuleSite module -> modules.get(module.name());
        };
    return cut == null ? List.of(slice) : cut.of(site, slice);
  }
}
