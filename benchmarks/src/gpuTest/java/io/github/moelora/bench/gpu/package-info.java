@NullMarked
package io.github.moelora.bench.gpu;

import org.jspecify.annotations.NullMarked;
