@NullMarked
package io.github.moelora.cli;

import org.jspecify.annotations.NullMarked;
