package io.github.moelora.workload;

import io.github.moelora.Matrix;
import io.github.moelora.reference.Reference;

/** Compares an output with what it should be; keeps the worst error in units of its bound. */
public final class Check {
  private double worst;

  /** Compares all of a result. */
  public void compare(Reference.Result expected, Matrix actual) {
    for (int p = 0; p < expected.values().length; p++) {
      for (int c = 0; c < expected.values()[p].length; c++) {
        element(expected.values()[p][c], expected.bounds()[p][c], actual.get(p, c));
      }
    }
  }

  /** Compares one element; a bound of 0 asks for the very value. */
  public void element(double expected, double bound, double actual) {
    double error = Math.abs(actual - expected);
    double ratio =
        error == 0 || (Double.isNaN(expected) && Double.isNaN(actual)) ? 0 : error / bound;
    // a NaN is as wrong as can be
    worst = Math.max(worst, Double.isNaN(ratio) ? Double.POSITIVE_INFINITY : ratio);
  }

  /** Takes over the worst error of another check. */
  public void add(Check other) {
    worst = Math.max(worst, other.worst);
  }

  /** Largest error over its bound. */
  public double worst() {
    return worst;
  }

  /** Whether every element is within its bound. */
  public boolean passed() {
    return worst <= 1;
  }
}
