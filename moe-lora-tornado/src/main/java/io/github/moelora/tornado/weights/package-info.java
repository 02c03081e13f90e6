/** Weights of a projection on the device, and how a slot changes. */
@NullMarked
package io.github.moelora.tornado.weights;

import org.jspecify.annotations.NullMarked;
