package io.github.moelora.tornado.tune;

import io.github.moelora.MoeLoraConfig;
import io.github.moelora.tornado.choice.BlockLimits;
import io.github.moelora.tornado.choice.OneShotTiling;
import io.github.moelora.tornado.choice.Tuning;
import io.github.moelora.tornado.kernels.OneShot;
import java.util.ArrayList;
import java.util.Collections;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.jspecify.annotations.Nullable;

/** Times of many batches, and the choices that they speak for. */
final class TuningResults {
  /** A built-in choice stays unless another one takes less than this share of its time. */
  private static final double WORTHWHILE = 0.95;

  /**
   * Time of one choice for a batch.
   *
   * @param blockSize rows of a block
   * @param oneShot the kernel; null for the others, which have no items to choose
   * @param nanos of both projections
   */
  record Timed(int blockSize, @Nullable OneShotTiling oneShot, double nanos) {

    /** The same with the shorter of two times. */
    Timed best(Timed again) {
      return again.nanos < nanos ? again : this;
    }

    /** Block size, and the number of items where there is a choice. */
    String name() {
      return oneShot == null
          ? Integer.toString(blockSize)
          : "%d/%d".formatted(blockSize, oneShot.targetItems());
    }
  }

  /**
   * A measured batch.
   *
   * @param builtIn block size without measurements
   * @param times of each block size, the one with the built-in number of items first
   */
  record Batch(int activePairs, int groups, int builtIn, List<Timed> times) {
    Batch {
      times = List.copyOf(times);
    }

    double pairsPerGroup() {
      return (double) activePairs / groups;
    }

    /** Time of each block size with the built-in number of items. */
    Map<Integer, Double> nanos() {
      Map<Integer, Double> bySize = new LinkedHashMap<>();
      times.forEach(timed -> bySize.putIfAbsent(timed.blockSize(), timed.nanos()));
      return bySize;
    }

    /** The fastest block size, with the numbers of items chosen before where they were measured. */
    int fastest(List<Integer> targetItems) {
      Map<Integer, Timed> bySize = new LinkedHashMap<>();
      for (Timed timed : times) {
        OneShotTiling kernel = timed.oneShot();
        if (!bySize.containsKey(timed.blockSize())
            || (kernel != null && kernel.targetItems() == targetItems.get(kernel.rows() - 1))) {
          bySize.put(timed.blockSize(), timed);
        }
      }
      Timed best = Collections.min(bySize.values(), Comparator.comparingDouble(Timed::nanos));
      Timed usual = bySize.get(builtIn);
      return usual != null && best.nanos() > WORTHWHILE * usual.nanos()
          ? builtIn
          : best.blockSize();
    }
  }

  private final List<Batch> batches = new ArrayList<>();

  boolean isEmpty() {
    return batches.isEmpty();
  }

  /** Adds a batch; of two with the same numbers of pairs and groups the shorter times count. */
  void add(Batch batch) {
    for (int i = 0; i < batches.size(); i++) {
      Batch other = batches.get(i);
      if (other.activePairs() == batch.activePairs() && other.groups() == batch.groups()) {
        List<Timed> times = new ArrayList<>();
        for (int t = 0; t < batch.times().size(); t++) {
          times.add(batch.times().get(t).best(other.times().get(t)));
        }
        batches.set(i, new Batch(batch.activePairs(), batch.groups(), batch.builtIn(), times));
        return;
      }
    }
    batches.add(batch);
  }

  /**
   * The built-in limits that the batches speak for, as {@link LimitsFit} says.
   *
   * @param present limits until now
   */
  BlockLimits limits(MoeLoraConfig config, BlockLimits present) {
    List<LimitsFit.Cell> cells =
        batches.stream()
            .map(
                each -> new LimitsFit.Cell(config, each.activePairs(), each.groups(), each.nanos()))
            .toList();
    return LimitsFit.fit(cells, present);
  }

  /** The choices for a device and a shape. */
  Tuning tuning(String device, Tuning.Shape shape) {
    if (batches.isEmpty()) {
      throw new IllegalStateException("measure must be called before write");
    }
    List<Integer> targetItems = new ArrayList<>();
    for (int rows = 1; rows <= OneShot.MAX_ROWS; rows++) {
      targetItems.add(bestItems(rows));
    }
    return new Tuning(device, shape, targetItems, rules(targetItems));
  }

  /**
   * The number of items whose times, each as a share of that with the built-in one, have the least
   * geometric mean; 0 for the built-in one.
   */
  private int bestItems(int rows) {
    TreeMap<Integer, List<Double>> logs = new TreeMap<>();
    for (Batch batch : batches) {
      Timed first = null;
      for (Timed timed : batch.times()) {
        if (timed.oneShot() != null && timed.oneShot().rows() == rows) {
          if (first == null || first.blockSize() != timed.blockSize()) {
            first = timed;
          } else {
            logs.computeIfAbsent(timed.oneShot().targetItems(), _ -> new ArrayList<>())
                .add(Math.log(timed.nanos() / first.nanos()));
          }
        }
      }
    }
    int best = 0;
    double least = Math.log(WORTHWHILE);
    for (var entry : logs.entrySet()) {
      double mean = entry.getValue().stream().mapToDouble(Double::doubleValue).average().orElse(0);
      if (mean < least) {
        least = mean;
        best = entry.getKey();
      }
    }
    return best;
  }

  /** Bounds lie at the geometric mean between measured batches, and none beyond the largest. */
  private List<Tuning.Rule> rules(List<Integer> targetItems) {
    TreeMap<Integer, List<Batch>> ladder = new TreeMap<>();
    for (Batch batch : batches) {
      ladder.computeIfAbsent(batch.activePairs(), _ -> new ArrayList<>()).add(batch);
    }
    List<Tuning.Rule> rules = new ArrayList<>();
    for (var rung : ladder.entrySet()) {
      Integer next = ladder.higherKey(rung.getKey());
      int maxPairs = next == null ? rung.getKey() : (int) Math.sqrt((double) rung.getKey() * next);
      List<Tuning.Rule> ofRung = rung(maxPairs, rung.getValue(), targetItems);
      if (ofRung.size() == 1
          && !rules.isEmpty()
          && rules.getLast().maxPairsPerGroup() == Double.POSITIVE_INFINITY
          && rules.getLast().blockSize() == ofRung.getFirst().blockSize()
          && (rules.size() == 1
              || rules.get(rules.size() - 2).maxActivePairs() < rules.getLast().maxActivePairs())) {
        rules.removeLast();
      }
      rules.addAll(ofRung);
    }
    return rules;
  }

  private static List<Tuning.Rule> rung(
      int maxPairs, List<Batch> batches, List<Integer> targetItems) {
    List<Batch> sorted =
        batches.stream().sorted(Comparator.comparingDouble(Batch::pairsPerGroup)).toList();
    List<Tuning.Rule> rules = new ArrayList<>();
    for (int i = 0; i < sorted.size(); i++) {
      int blockSize = sorted.get(i).fastest(targetItems);
      double bound =
          i + 1 == sorted.size()
              ? Double.POSITIVE_INFINITY
              : Math.sqrt(sorted.get(i).pairsPerGroup() * sorted.get(i + 1).pairsPerGroup());
      if (!rules.isEmpty() && rules.getLast().blockSize() == blockSize) {
        rules.removeLast();
      }
      rules.add(new Tuning.Rule(maxPairs, bound, blockSize));
    }
    return rules;
  }
}
