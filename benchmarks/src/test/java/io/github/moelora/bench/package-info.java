@NullMarked
package io.github.moelora.bench;

import org.jspecify.annotations.NullMarked;
