/** This machine's ceilings, and the JMH benchmarks; {@code scripts/bench-jmh} runs them. */
@NullMarked
package io.github.moelora.bench;

import org.jspecify.annotations.NullMarked;
