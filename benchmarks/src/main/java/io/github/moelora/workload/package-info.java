/** Shapes, batches, adapters and checks that commands and benchmarks share. */
@NullMarked
package io.github.moelora.workload;

import org.jspecify.annotations.NullMarked;
