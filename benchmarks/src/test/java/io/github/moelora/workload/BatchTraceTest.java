package io.github.moelora.workload;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.List;
import java.util.SplittableRandom;
import org.junit.jupiter.api.Test;

/** Traces of continuous batching: what small ones must be, and what holds for all. */
class BatchTraceTest {
  private static BatchTrace.Step step(int decode, int prompt, int first) {
    return new BatchTrace.Step(decode, prompt, first);
  }

  @Test
  void promptsAreCutWhereTheBudgetEnds() {
    // three prompts of 5 tokens, 3 tokens out, two at once, 7 tokens a step
    BatchTrace trace = BatchTrace.of(new BatchTrace.Load(3, 2, 5, 3, 7));
    assertThat(trace.steps())
        .containsExactly(
            step(0, 7, 1), // the first prompt, 2 tokens of the second
            step(1, 3, 1), // the rest of the second
            step(2, 0, 0), // the first request's last token
            step(1, 5, 1), // the third begins, the second ends
            step(1, 0, 0),
            step(1, 0, 0));
  }

  @Test
  void anAnswerOfOneTokenComesFromThePrompt() {
    BatchTrace trace = BatchTrace.of(new BatchTrace.Load(2, 1, 3, 1, 8));
    assertThat(trace.steps()).containsExactly(step(0, 3, 1), step(0, 3, 1));
  }

  @Test
  void everyRequestGetsItsTokensAndNoStepMoreThanTheBudget() {
    SplittableRandom random = new SplittableRandom(5);
    for (int i = 0; i < 200; i++) {
      int atOnce = random.nextInt(1, 20);
      requireWhole(
          new BatchTrace.Load(
              random.nextInt(1, 60),
              atOnce,
              random.nextInt(1, 50),
              random.nextInt(1, 20),
              random.nextInt(atOnce, 100)));
    }
  }

  private static void requireWhole(BatchTrace.Load load) {
    List<BatchTrace.Step> steps = BatchTrace.of(load).steps();
    long prompt = steps.stream().mapToLong(BatchTrace.Step::promptTokens).sum();
    long first = steps.stream().mapToLong(BatchTrace.Step::firstTokens).sum();
    long decode = steps.stream().mapToLong(BatchTrace.Step::decodeTokens).sum();
    assertThat(prompt).as("%s", load).isEqualTo((long) load.requests() * load.promptTokens());
    assertThat(first).as("%s", load).isEqualTo(load.requests());
    // the first token of an answer comes from its prompt
    assertThat(first + decode)
        .as("%s", load)
        .isEqualTo((long) load.requests() * load.outputTokens());
    assertThat(steps)
        .as("%s", load)
        .allMatch(each -> each.tokens() >= 1 && each.tokens() <= load.tokenBudget())
        .allMatch(each -> each.decodeTokens() <= load.atOnce());
  }

  @Test
  void theServingRunHasFewBatchSizes() {
    BatchTrace trace = BatchTrace.of(new BatchTrace.Load(800, 80, 1024, 100, 8192));
    requireWhole(new BatchTrace.Load(800, 80, 1024, 100, 8192));
    assertThat(trace.stepsByTokens()).hasSize(25).containsEntry(80, 888).containsEntry(8192, 57);
    assertThat(trace.stepsByTokens().values().stream().mapToInt(Integer::intValue).sum())
        .isEqualTo(trace.steps().size());
  }

  @Test
  void refusesABudgetThatLeavesRequestsOut() {
    assertThatThrownBy(() -> new BatchTrace.Load(1, 9, 1, 1, 8))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessage("tokenBudget must be at least atOnce = 9, got 8");
    assertThatThrownBy(() -> new BatchTrace.Load(1, 1, 0, 1, 8))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessage("promptTokens must be at least 1, got 0");
  }
}
