@NullMarked
package io.github.moelora;

import org.jspecify.annotations.NullMarked;
