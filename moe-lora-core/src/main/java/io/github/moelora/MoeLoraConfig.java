package io.github.moelora;

import java.util.List;

/**
 * Sizes and limits of a {@link MoeLora}. Start with {@link #of} and change what differs.
 *
 * @param model the model
 * @param slots number {@code L} of adapter slots, at least 1
 * @param expertsPerToken {@code K}, in {@code [1, E]}
 * @param maxTokens largest {@code T} of a step, at least 1
 * @param maxRank largest rank of an adapter, on experts and dense modules alike, in {@code [1,
 *     256]}; a backend that reserves device memory reserves it for this rank
 * @param weightType type in which weights are kept; {@link DType#F32} holds every adapter file
 *     exactly, the others halve memory and traffic
 * @param expertMap which experts live here
 */
public record MoeLoraConfig(
    MoeModel model,
    int slots,
    int expertsPerToken,
    int maxTokens,
    int maxRank,
    DType weightType,
    ExpertMap expertMap) {

  /** Largest rank that any backend takes. */
  public static final int RANK_LIMIT = 256;

  /**
   * @throws IllegalArgumentException if a value is outside its range or {@code maxTokens * K}
   *     exceeds the range of int32
   */
  public MoeLoraConfig {
    Checks.inRange("slots", slots, 1, 1 << 16);
    Checks.inRange("expertsPerToken", expertsPerToken, 1, model.experts() + 1L);
    // pair indices, their padding and the block list stay below 2^31
    Checks.inRange("maxTokens", maxTokens, 1, (1 << 29) / expertsPerToken + 1L);
    Checks.inRange("maxRank", maxRank, 1, RANK_LIMIT + 1L);
    if (expertMap.experts() != model.experts()) {
      throw new IllegalArgumentException(
          "expertMap.experts must be %d as in the model, got %d"
              .formatted(model.experts(), expertMap.experts()));
    }
    Checks.inRange("slots * experts", (long) slots * expertMap.experts(), 1, 1 << 28);
  }

  /** All experts local, float32 weights, rank up to 64, steps of up to 4096 tokens. */
  public static MoeLoraConfig of(MoeModel model, int slots, int expertsPerToken) {
    return new MoeLoraConfig(
        model, slots, expertsPerToken, 4096, 64, DType.F32, ExpertMap.identity(model.experts()));
  }

  /**
   * What a dense module of the model is to a backend: the same slots and limits over a model with
   * one layer of one expert without gate, whose hidden and intermediate sizes are the module's
   * input and output, and one choice per token.
   */
  public MoeLoraConfig ofDense(DenseModule module) {
    MoeModel layer =
        new MoeModel(module.inputWidth(), module.outputWidth(), 1, GateUp.UP_ONLY, List.of(0));
    return new MoeLoraConfig(
        layer, slots, 1, maxTokens, maxRank, weightType, ExpertMap.identity(1));
  }

  /** Largest number {@code P} of pairs of a step. */
  public int maxPairs() {
    return maxTokens * expertsPerToken;
  }

  public MoeLoraConfig withMaxTokens(int tokens) {
    return new MoeLoraConfig(model, slots, expertsPerToken, tokens, maxRank, weightType, expertMap);
  }

  public MoeLoraConfig withMaxRank(int rank) {
    return new MoeLoraConfig(model, slots, expertsPerToken, maxTokens, rank, weightType, expertMap);
  }

  public MoeLoraConfig withWeightType(DType type) {
    return new MoeLoraConfig(model, slots, expertsPerToken, maxTokens, maxRank, type, expertMap);
  }

  public MoeLoraConfig withExpertMap(ExpertMap map) {
    return new MoeLoraConfig(model, slots, expertsPerToken, maxTokens, maxRank, weightType, map);
  }
}
