@NullMarked
package io.github.moelora.peft.names;

import org.jspecify.annotations.NullMarked;
