@NullMarked
package io.github.moelora.gguf;

import org.jspecify.annotations.NullMarked;
