@NullMarked
package io.github.moelora.cli.golden;

import org.jspecify.annotations.NullMarked;
