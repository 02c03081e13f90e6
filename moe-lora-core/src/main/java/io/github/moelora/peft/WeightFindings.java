package io.github.moelora.peft;

import io.github.moelora.DType;
import io.github.moelora.safetensors.FiniteScan;
import io.github.moelora.safetensors.SafeTensorsFile.Tensor;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;

/**
 * What the weights themselves tell: values that are not finite, and zeros that look like a loss.
 */
final class WeightFindings {
  /** Parts into which training is usually divided; a lost one leaves zeros in its place. */
  private static final int SHARDS = 8;

  private final PeftAdapter adapter;

  WeightFindings(PeftAdapter adapter) {
    this.adapter = adapter;
  }

  private List<Tensor> all() {
    List<Tensor> tensors = new ArrayList<>();
    adapter.entries().forEach(entry -> tensors.addAll(List.of(entry.a(), entry.b())));
    adapter.denseEntries().forEach(entry -> tensors.addAll(List.of(entry.a(), entry.b())));
    return tensors;
  }

  /** Reads every weight; the first tensor in the order of the entries is named. */
  void requireFinite() {
    List<Tensor> tensors = all();
    Optional<Tensor> bad =
        tensors.parallelStream()
            .filter(tensor -> FiniteScan.firstNonFinite(tensor.data(), type(tensor)) >= 0)
            .findFirst();
    if (bad.isPresent()) {
      Tensor tensor = bad.get();
      long at = FiniteScan.firstNonFinite(tensor.data(), type(tensor));
      throw adapter.fault(
          tensor.name(),
          "element %s must be finite".formatted(index(tensor.shape(), at)),
          type(tensor).get(tensor.data(), at));
    }
  }

  private static String index(List<Long> shape, long at) {
    List<String> parts = new ArrayList<>();
    long rest = at;
    for (int i = shape.size() - 1; i >= 0; i--) {
      parts.addFirst(Long.toString(rest % shape.get(i)));
      rest /= shape.get(i);
    }
    return "[" + String.join(",", parts) + "]";
  }

  private static DType type(Tensor tensor) {
    return DType.valueOf(tensor.dtype());
  }

  /** Looks for zeros where a lost shard leaves them. */
  List<String> warnings() {
    List<Tensor> bs = new ArrayList<>();
    adapter.entries().forEach(entry -> bs.add(entry.b()));
    adapter.denseEntries().forEach(entry -> bs.add(entry.b()));
    int untouched = 0;
    List<String> lost = new ArrayList<>();
    for (Tensor b : bs) {
      int zero = zeroShards(b);
      if (zero == SHARDS) {
        untouched++;
      } else if (zero > 0) {
        lost.add(b.name());
      }
    }
    List<String> warnings = new ArrayList<>();
    if (!bs.isEmpty() && untouched == bs.size()) {
      warnings.add("every B is zero, so the adapter changes nothing: it was not trained, or lost");
    } else if (untouched > 0) {
      warnings.add(
          "%d of %d pairs have a B of zeros, so they change nothing"
              .formatted(untouched, bs.size()));
    }
    if (!lost.isEmpty()) {
      warnings.add(
          "%d B have whole eighths of zero rows, as where a shard was lost when it was saved; the first is %s"
              .formatted(lost.size(), lost.getFirst()));
    }
    return warnings;
  }

  /**
   * Eighths of B's rows that are all zero. Weights that were trained are found by their first
   * element, so that little is read.
   */
  private static int zeroShards(Tensor b) {
    long rows = 1;
    for (int i = 0; i < b.shape().size() - 1; i++) {
      rows *= b.shape().get(i);
    }
    long columns = b.shape().getLast();
    DType type = type(b);
    if (rows < SHARDS) {
      return isZero(b, type, 0, rows * columns) ? SHARDS : 0;
    }
    int zero = 0;
    for (int i = 0; i < SHARDS; i++) {
      long from = rows * i / SHARDS * columns;
      long end = rows * (i + 1) / SHARDS * columns;
      zero += isZero(b, type, from, end) ? 1 : 0;
    }
    return zero;
  }

  private static boolean isZero(Tensor b, DType type, long from, long end) {
    for (long i = from; i < end; i++) {
      if (type.get(b.data(), i) != 0) {
        return false;
      }
    }
    return true;
  }
}
