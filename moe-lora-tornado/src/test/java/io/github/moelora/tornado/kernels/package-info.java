@NullMarked
package io.github.moelora.tornado.kernels;

import org.jspecify.annotations.NullMarked;
