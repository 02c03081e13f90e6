@NullMarked
package io.github.moelora.tornado;

import org.jspecify.annotations.NullMarked;
