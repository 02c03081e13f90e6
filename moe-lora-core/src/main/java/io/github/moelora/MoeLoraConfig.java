package io.github.moelora;

import java.util.List;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/**
 * Sizes and limits of a {@link MoeLora}. Start with {@link #of} and change what differs.
 *
 * @param model the model
 * @param slots number {@code L} of adapter slots, at least 1
 * @param expertsPerToken {@code K}, in {@code [1, E]}
 * @param maxTokens largest {@code T} of a step, at least 1
 * @param maxRank largest rank of an adapter, on experts and dense modules alike, in {@code [1,
 *     512]}; without {@code pool} a backend that reserves device memory reserves it for this rank
 *     in every slot
 * @param weightType type in which weights are kept; {@link DType#F32} holds every adapter file
 *     exactly, the others halve memory and traffic
 * @param expertMap which experts live here
 * @param pool memory that the slots share on a device, null for {@code maxRank} in every slot; the
 *     CPU backend takes what adapters need and ignores it
 * @param device device of the backend: its index among those that {@code moe-lora devices} lists
 *     for it, or a part of its name that no other has; null for the backend's first
 */
public record MoeLoraConfig(
    MoeModel model,
    int slots,
    int expertsPerToken,
    int maxTokens,
    int maxRank,
    DType weightType,
    ExpertMap expertMap,
    @Nullable AdapterPool pool,
    @Nullable String device) {

  /** Largest rank that any backend takes; one that takes less refuses to open with more. */
  public static final int RANK_LIMIT = 512;

  /**
   * @throws IllegalArgumentException if a value is outside its range or {@code maxTokens * K}
   *     exceeds the range of int32
   */
  public MoeLoraConfig {
    Objects.requireNonNull(model, "model must not be null");
    Objects.requireNonNull(weightType, "weightType must not be null");
    Objects.requireNonNull(expertMap, "expertMap must not be null");
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
    if (pool != null) {
      // one adapter of the largest rank fits at least
      Checks.atLeast("pool.ranks", pool.ranks(), maxRank);
    }
    if (device != null && device.isBlank()) {
      throw new IllegalArgumentException(
          "device must be an index or a name, got \"%s\"".formatted(device));
    }
  }

  /** Room for {@code maxRank} in every slot, on the backend's first device. */
  public MoeLoraConfig(
      MoeModel model,
      int slots,
      int expertsPerToken,
      int maxTokens,
      int maxRank,
      DType weightType,
      ExpertMap expertMap) {
    this(model, slots, expertsPerToken, maxTokens, maxRank, weightType, expertMap, null, null);
  }

  /** All experts local, float32 weights, rank up to 64, steps of up to 4096 tokens. */
  public static MoeLoraConfig of(MoeModel model, int slots, int expertsPerToken) {
    Objects.requireNonNull(model, "model must not be null");
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
        layer, slots, 1, maxTokens, maxRank, weightType, ExpertMap.identity(1), pool, device);
  }

  /** Largest number {@code P} of pairs of a step. */
  public int maxPairs() {
    return maxTokens * expertsPerToken;
  }

  public MoeLoraConfig withMaxTokens(int tokens) {
    return new MoeLoraConfig(
        model, slots, expertsPerToken, tokens, maxRank, weightType, expertMap, pool, device);
  }

  public MoeLoraConfig withMaxRank(int rank) {
    return new MoeLoraConfig(
        model, slots, expertsPerToken, maxTokens, rank, weightType, expertMap, pool, device);
  }

  public MoeLoraConfig withWeightType(DType type) {
    return new MoeLoraConfig(
        model, slots, expertsPerToken, maxTokens, maxRank, type, expertMap, pool, device);
  }

  public MoeLoraConfig withExpertMap(ExpertMap map) {
    return new MoeLoraConfig(
        model, slots, expertsPerToken, maxTokens, maxRank, weightType, map, pool, device);
  }

  /** The same with so much device memory for all slots together; null for the largest. */
  public MoeLoraConfig withPool(@Nullable AdapterPool memory) {
    return new MoeLoraConfig(
        model, slots, expertsPerToken, maxTokens, maxRank, weightType, expertMap, memory, device);
  }

  /**
   * The same on a device by its name, or a part of it that no other of the backend has; null for
   * the first.
   */
  public MoeLoraConfig withDevice(@Nullable String nameOrIndex) {
    return new MoeLoraConfig(
        model,
        slots,
        expertsPerToken,
        maxTokens,
        maxRank,
        weightType,
        expertMap,
        pool,
        nameOrIndex);
  }

  /**
   * The same on a device by its index among those of the backend.
   *
   * @param index at least 0
   */
  public MoeLoraConfig withDevice(int index) {
    Checks.atLeast("index", index, 0);
    return withDevice(Integer.toString(index));
  }
}
