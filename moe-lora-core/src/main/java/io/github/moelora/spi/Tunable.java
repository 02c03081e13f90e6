package io.github.moelora.spi;

import io.github.moelora.MoeLoraConfig;

/**
 * A {@link BackendProvider} whose backend chooses by device and shape of the model how it computes
 * a batch, and can measure which choice is fastest. Providers with nothing to choose do not
 * implement it.
 */
public interface Tunable {

  /**
   * Prepares measurements for a shape. Takes device memory as a backend of that configuration does,
   * and more for the largest batch.
   *
   * @throws IllegalStateException if the backend is not usable, with reason and remedy
   */
  Tuner newTuner(MoeLoraConfig config);
}
