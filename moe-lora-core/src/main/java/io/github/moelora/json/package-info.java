/** Reads hostile JSON; for the modules of this library only. */
@NullMarked
package io.github.moelora.json;

import org.jspecify.annotations.NullMarked;
