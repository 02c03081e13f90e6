@NullMarked
package io.github.moelora.peft;

import org.jspecify.annotations.NullMarked;
