package io.github.moelora.gguf;

import io.github.moelora.Matrix;
import io.github.moelora.gguf.GgufFile.Tensor;
import java.lang.foreign.Arena;

/**
 * A pair on a weight that is not one of routed experts: attention, a shared expert, the router, the
 * output. Rows and columns are those of the base model's own GGUF file; where its converter moved
 * rows, as it does with query and key of the Llama architecture, an adapter's rows have moved
 * likewise.
 *
 * @param name name of the base model's weight, such as {@code blk.0.attn_q.weight}
 * @param experts number of experts that the pair holds, 1 for a plain linear layer
 * @param rank rank {@code R}
 * @param scale what the product is multiplied with
 * @param tensorA tensor of A as the file has it
 * @param tensorB tensor of B as the file has it
 */
public record GgufModule(
    String name, int experts, int rank, float scale, Tensor tensorA, Tensor tensorB) {

  /** The one weight whose A is stored the other way round. */
  static boolean isEmbedding(String name) {
    return name.endsWith("token_embd.weight");
  }

  /** Whether it is the token embedding, which is no linear layer. */
  public boolean isEmbedding() {
    return isEmbedding(name);
  }

  /** Whether it holds a pair for each of several experts. */
  public boolean isOfExperts() {
    return tensorA.shape().size() > 2;
  }

  /** Name of the layer: that of the weight without {@code .weight}. */
  public String path() {
    return name.endsWith(".weight") ? name.substring(0, name.length() - 7) : name;
  }

  /**
   * A of one expert, a view of the mapped file, or a copy where it was quantised.
   *
   * @param expert in {@code [0, experts)}; 0 for a plain linear layer
   * @return {@code [R, in]}; for the token embedding {@code in} is the vocabulary
   */
  public Matrix a(int expert) {
    int in = (int) dimension(tensorA, isEmbedding(name) ? 2 : 1);
    return isEmbedding(name)
        ? view(tensorA, expert, rank, in, 1, rank)
        : view(tensorA, expert, rank, in, in, 1);
  }

  /**
   * B of one expert, a view of the mapped file, or a copy where it was quantised.
   *
   * @param expert in {@code [0, experts)}; 0 for a plain linear layer
   * @return {@code [out, R]}
   */
  public Matrix b(int expert) {
    return view(tensorB, expert, (int) dimension(tensorB, 2), rank, rank, 1);
  }

  private static long dimension(Tensor tensor, int fromLast) {
    return tensor.shape().get(tensor.shape().size() - fromLast);
  }

  private Matrix view(
      Tensor tensor, int expert, int rows, int columns, long rowStride, long columnStride) {
    if (expert < 0 || expert >= experts) {
      throw new IllegalArgumentException(
          "expert must be in [0, %d), got %d".formatted(experts, expert));
    }
    Weights weights = Weights.of(tensor, expert, experts, Arena.ofAuto());
    return new Matrix(weights.data(), weights.type(), rows, columns, 0, rowStride, columnStride);
  }
}
