@NullMarked
package io.github.moelora.spi;

import org.jspecify.annotations.NullMarked;
