/** Replays golden data for {@code moe-lora verify}. */
@NullMarked
package io.github.moelora.cli.golden;

import org.jspecify.annotations.NullMarked;
