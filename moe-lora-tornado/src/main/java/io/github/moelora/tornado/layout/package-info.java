/** How weights, plans and sizes lie in device arrays; knows nothing of kernels. */
@NullMarked
package io.github.moelora.tornado.layout;

import org.jspecify.annotations.NullMarked;
