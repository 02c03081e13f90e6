@NullMarked
package io.github.moelora.reference;

import org.jspecify.annotations.NullMarked;
