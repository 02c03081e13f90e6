@NullMarked
package io.github.moelora.build;

import org.jspecify.annotations.NullMarked;
