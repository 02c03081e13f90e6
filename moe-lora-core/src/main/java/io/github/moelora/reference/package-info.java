/** The specification as code: float64, one loop per symbol, no routing, no blocks. */
@NullMarked
package io.github.moelora.reference;

import org.jspecify.annotations.NullMarked;
