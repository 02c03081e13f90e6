@NullMarked
package io.github.moelora.safetensors;

import org.jspecify.annotations.NullMarked;
