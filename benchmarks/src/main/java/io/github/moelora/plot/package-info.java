/** Charts as PNG files. */
@NullMarked
package io.github.moelora.plot;

import org.jspecify.annotations.NullMarked;
