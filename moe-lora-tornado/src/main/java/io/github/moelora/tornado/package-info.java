/** The TornadoVM backend of moe-lora. Only this package family imports TornadoVM. */
@NullMarked
package io.github.moelora.tornado;

import org.jspecify.annotations.NullMarked;
