package io.github.moelora.tornado.layout;

import io.github.moelora.ExpertMap;
import io.github.moelora.MoeLoraConfig;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;

/**
 * Indices into the small array that tells the kernels what a step is: its tokens, which slots take
 * part, and the numbers of the model that a pair's place follows from. It is on the device, so a
 * captured graph serves any step.
 */
public final class StepWords {
  /** {@code T}. */
  public static final int TOKENS = 0;

  /** {@code K}. */
  public static final int EXPERTS_PER_TOKEN = 1;

  /** {@code L}. */
  public static final int SLOTS = 2;

  /** {@code E}. */
  public static final int EXPERTS = 3;

  /** Experts that live here. */
  public static final int LOCAL_EXPERTS = 4;

  /** 1 if the expert map must be read, 0 if every expert lives here under its own number. */
  public static final int MAPPED = 5;

  /** Where the expert map lies in this array, for kernels that take no other. */
  public static final int EXPERT_MAP = 6;

  /** First of {@code L} words: 1 where the slot holds an adapter that is enabled. */
  public static final int FIRST_SLOT = 8;

  private StepWords() {}

  /** The array, for a step without tokens. */
  public static IntArray of(MoeLoraConfig config) {
    ExpertMap map = config.expertMap();
    int ids = firstId(config.slots());
    int mapAt = ids + config.maxTokens();
    IntArray words = new IntArray(Math.addExact(mapAt, map.experts()));
    words.init(0);
    for (int t = 0; t < config.maxTokens(); t++) {
      words.set(ids + t, -1);
    }
    words.set(EXPERT_MAP, mapAt);
    words.set(EXPERTS_PER_TOKEN, config.expertsPerToken());
    words.set(SLOTS, config.slots());
    words.set(EXPERTS, map.experts());
    words.set(LOCAL_EXPERTS, map.localExperts());
    for (int e = 0; e < map.experts(); e++) {
      words.set(mapAt + e, map.local(e));
      if (map.local(e) != e) {
        words.set(MAPPED, 1);
      }
    }
    return words;
  }

  /** First of {@code T} words, the tokens' adapters from the host: slots or -1. */
  public static int firstId(int slots) {
    return FIRST_SLOT + slots;
  }

  /** The expert map for the device: {@code [E]}, the local expert or -1. */
  public static IntArray expertMap(MoeLoraConfig config) {
    ExpertMap map = config.expertMap();
    IntArray local = new IntArray(map.experts());
    for (int e = 0; e < map.experts(); e++) {
      local.set(e, map.local(e));
    }
    return local;
  }
}
