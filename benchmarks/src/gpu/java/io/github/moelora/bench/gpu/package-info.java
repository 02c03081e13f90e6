/** Benchmarks of the kernels on a GPU; {@code scripts/bench-gpu} runs them. */
@NullMarked
package io.github.moelora.bench.gpu;

import org.jspecify.annotations.NullMarked;
