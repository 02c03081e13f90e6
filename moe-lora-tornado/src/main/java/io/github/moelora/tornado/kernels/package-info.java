/** All code that runs on the device. It knows neither the host's memory nor task graphs. */
@NullMarked
package io.github.moelora.tornado.kernels;

import org.jspecify.annotations.NullMarked;
