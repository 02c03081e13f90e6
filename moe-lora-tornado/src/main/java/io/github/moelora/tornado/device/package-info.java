/** What TornadoVM and its devices can do and how they lay out memory; knows nothing of LoRA. */
@NullMarked
package io.github.moelora.tornado.device;

import org.jspecify.annotations.NullMarked;
