@NullMarked
package io.github.moelora.json;

import org.jspecify.annotations.NullMarked;
