@NullMarked
package io.github.moelora.cpu;

import org.jspecify.annotations.NullMarked;
