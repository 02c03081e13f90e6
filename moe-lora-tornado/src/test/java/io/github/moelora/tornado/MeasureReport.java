package io.github.moelora.tornado;

import com.fasterxml.jackson.annotation.JsonProperty;
import java.util.List;
import java.util.Locale;

/**
 * What {@link BenchMeasures} measured, as its JSON file holds it.
 *
 * @param command the arguments
 * @param started time in UTC
 * @param device name and memory
 * @param tornado version of TornadoVM
 * @param java version of the JVM
 * @param seed of all random numbers
 * @param shape name of the shape
 * @param type of weights and activations
 * @param rank of every adapter
 * @param block rows of a block
 * @param cells in the order of measurement
 */
record MeasureReport(
    List<String> command,
    String started,
    String device,
    String tornado,
    String java,
    long seed,
    @JsonProperty("case") String shape,
    String type,
    int rank,
    int block,
    List<Cell> cells) {

  /**
   * Time of one variant.
   *
   * @param measure that the variant lacks, 0 for the baseline
   * @param variant its name
   * @param slots adapter slots that the grid is for
   * @param tokens of the batch
   * @param programs of the grid for each slice and chunk of columns
   * @param micros GPU time of shrink and expand
   * @param baselineMicros of the baseline, mean of the times just before and after
   * @param noise relative difference of these two times
   * @param worstError largest error of a checked element, as a share of its bound
   */
  record Cell(
      int measure,
      String variant,
      int slots,
      int tokens,
      int programs,
      double micros,
      double baselineMicros,
      double noise,
      double worstError) {

    @JsonProperty("times_baseline")
    double timesBaseline() {
      return micros / baselineMicros;
    }

    /** Whether it takes as long as the baseline, as far as the baseline itself can be told. */
    @JsonProperty("equal")
    boolean equal() {
      return Math.abs(timesBaseline() - 1) <= Math.max(noise, LEAST_NOISE);
    }

    boolean valid() {
      return worstError <= 1 && micros > 0 && baselineMicros > 0;
    }
  }

  /** Ratios closer to 1 than this are not told apart. */
  static final double LEAST_NOISE = 0.01;

  /** Whether all results were right and all times positive. */
  boolean valid() {
    return cells.stream().allMatch(Cell::valid);
  }

  /** The cells as a table in Markdown, after a line on the device. */
  String table() {
    StringBuilder text = new StringBuilder();
    text.append(
        String.format(
            Locale.ROOT,
            "%s, Java %s; %s, %s, rank %d, blocks of %d%n%n",
            device,
            java,
            shape,
            type,
            rank,
            block));
    text.append(
        """
        | measure | variant | slots | tokens | programs | us | all measures us | ratio |
        | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: |
        """);
    for (Cell cell : cells) {
      text.append(
          String.format(
              Locale.ROOT,
              "| %s | %s | %d | %d | %d | %.2f | %.2f | %.2f%s%s |%n",
              cell.measure() == 0 ? "" : "" + cell.measure(),
              cell.variant(),
              cell.slots(),
              cell.tokens(),
              cell.programs(),
              cell.micros(),
              cell.baselineMicros(),
              cell.timesBaseline(),
              cell.equal() ? " (equal)" : "",
              cell.valid() ? "" : " WRONG"));
    }
    return text.toString();
  }
}
