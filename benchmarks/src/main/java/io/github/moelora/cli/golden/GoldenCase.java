package io.github.moelora.cli.golden;

/**
 * Outcome of one case of golden data.
 *
 * @param directory name of its folder
 * @param name of the case
 * @param worst worst error over its bound; infinite where there is nothing to measure and it went
 *     wrong
 * @param note what was compared, or what went wrong
 */
public record GoldenCase(String directory, String name, double worst, String note) {
  /** Whether every element is within its bound. */
  public boolean passed() {
    return worst <= 1;
  }
}
