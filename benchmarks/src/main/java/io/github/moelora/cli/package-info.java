/** The command line {@code moe-lora}. */
@NullMarked
package io.github.moelora.cli;

import org.jspecify.annotations.NullMarked;
