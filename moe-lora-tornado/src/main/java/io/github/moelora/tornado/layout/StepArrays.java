package io.github.moelora.tornado.layout;

import io.github.moelora.MoeLoraConfig;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;

/**
 * What kernels that route on the device read of a step.
 *
 * @param step {@link StepWords}
 * @param adapterIds int32 {@code [T]}, slots or -1
 * @param expertMap int32 {@code [E]}, the local expert or -1
 * @param errors int32, a word for each work-group that looks up pairs: how many it has met that
 *     name an id out of range
 */
public record StepArrays(IntArray step, IntArray adapterIds, IntArray expertMap, IntArray errors) {

  /** Most work-groups of a kernel that looks up pairs, but for those that sort chunks. */
  public static final int MAX_GROUPS = 1024;

  /** Arrays for steps of the configuration. */
  public static StepArrays of(MoeLoraConfig config) {
    IntArray adapterIds = new IntArray(config.maxTokens());
    adapterIds.init(-1);
    IntArray errors = new IntArray(Math.max(MAX_GROUPS, config.maxPairs() / 1024 + 1));
    errors.init(0);
    return new StepArrays(StepWords.of(config), adapterIds, StepWords.expertMap(config), errors);
  }

  /** Stand-ins of one element, to be mapped to the arrays on the device. */
  public static StepArrays handles() {
    return new StepArrays(new IntArray(1), new IntArray(1), new IntArray(1), new IntArray(1));
  }

  /** All arrays, in the order of the handles. */
  public Object[] all() {
    return new Object[] {step, adapterIds, expertMap, errors};
  }
}
