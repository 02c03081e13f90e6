package io.github.moelora.tornado.choice;

import io.github.moelora.MoeLoraConfig;

/** Which of the narrow kernels compute a projection, and how they cut its work. */
public sealed interface Tiling permits SplitTiling, OneShotTiling {

  /** Multiprocessors of an H100; the grids are sized for it and work on any device. */
  int MULTIPROCESSORS = 132;

  /** Most rows of a block. */
  int rows();

  /** Floats of scratch memory for a list of up to {@code blocks} blocks, at least 1. */
  int zElements(MoeLoraConfig config, int blocks);
}
