@NullMarked
package io.github.moelora.plot;

import org.jspecify.annotations.NullMarked;
