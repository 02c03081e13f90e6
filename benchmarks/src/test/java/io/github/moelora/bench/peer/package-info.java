@NullMarked
package io.github.moelora.bench.peer;

import org.jspecify.annotations.NullMarked;
