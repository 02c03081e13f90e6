/** A load test of adapter caches as a server sees them: {@code scripts/serving-load}. */
@NullMarked
package io.github.moelora.serving;

import org.jspecify.annotations.NullMarked;
