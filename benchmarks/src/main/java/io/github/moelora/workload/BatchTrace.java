package io.github.moelora.workload;

import java.util.ArrayList;
import java.util.List;
import java.util.SortedMap;
import java.util.TreeMap;

/**
 * The batches that a server with continuous batching runs under a load: every step takes one token
 * of each request that is being answered and, with what the token budget leaves, the next tokens of
 * prompts, oldest request first. A prompt may be cut anywhere. The step that ends a prompt yields
 * the first token of the answer; the last one is not computed on.
 *
 * @param steps in order
 */
public record BatchTrace(List<Step> steps) {

  /**
   * A load.
   *
   * @param requests in all
   * @param atOnce requests that are under way as long as there are as many
   * @param promptTokens of each request
   * @param outputTokens of each request, at least 1
   * @param tokenBudget most tokens of a step, at least {@code atOnce}
   */
  public record Load(
      int requests, int atOnce, int promptTokens, int outputTokens, int tokenBudget) {
    public Load {
      requirePositive("requests", requests);
      requirePositive("atOnce", atOnce);
      requirePositive("promptTokens", promptTokens);
      requirePositive("outputTokens", outputTokens);
      if (tokenBudget < atOnce) {
        throw new IllegalArgumentException(
            "tokenBudget must be at least atOnce = %d, got %d".formatted(atOnce, tokenBudget));
      }
    }

    private static void requirePositive(String name, int value) {
      if (value < 1) {
        throw new IllegalArgumentException("%s must be at least 1, got %d".formatted(name, value));
      }
    }
  }

  /**
   * A batch.
   *
   * @param decodeTokens tokens of answers
   * @param promptTokens tokens of prompts
   * @param firstTokens answers that this step begins
   */
  public record Step(int decodeTokens, int promptTokens, int firstTokens) {
    /** Tokens of the batch. */
    public int tokens() {
      return decodeTokens + promptTokens;
    }
  }

  public BatchTrace {
    steps = List.copyOf(steps);
  }

  /** The steps of a load, always the same ones. */
  public static BatchTrace of(Load load) {
    List<Step> steps = new ArrayList<>();
    List<Request> running = new ArrayList<>();
    int started = 0;
    while (started < load.requests() || !running.isEmpty()) {
      while (running.size() < load.atOnce() && started < load.requests()) {
        running.add(new Request());
        started++;
      }
      steps.add(step(load, running));
      running.removeIf(request -> request.outputs == load.outputTokens());
    }
    return new BatchTrace(steps);
  }

  private static Step step(Load load, List<Request> running) {
    int left = load.tokenBudget();
    int decode = 0;
    int prompt = 0;
    int first = 0;
    for (Request request : running) {
      int missing = load.promptTokens() - request.prompt;
      int taken = Math.min(left, Math.max(missing, 1));
      left -= taken;
      if (missing == 0) {
        decode += taken;
        request.outputs += taken;
        continue;
      }
      prompt += taken;
      request.prompt += taken;
      if (taken == missing) {
        request.outputs = 1;
        first++;
      }
    }
    return new Step(decode, prompt, first);
  }

  /** A request under way. */
  private static final class Request {
    private int prompt;
    private int outputs;
  }

  /** How many steps have a batch of that many tokens, by tokens. */
  public SortedMap<Integer, Integer> stepsByTokens() {
    SortedMap<Integer, Integer> counts = new TreeMap<>();
    steps.forEach(step -> counts.merge(step.tokens(), 1, Integer::sum));
    return counts;
  }
}
