/** What an adapter costs on the CPU beside llama.cpp, {@code scripts/bench-cpu-peer}. */
@NullMarked
package io.github.moelora.bench.peer;

import org.jspecify.annotations.NullMarked;
