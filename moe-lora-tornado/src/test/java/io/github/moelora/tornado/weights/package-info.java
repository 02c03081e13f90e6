@NullMarked
package io.github.moelora.tornado.weights;

import org.jspecify.annotations.NullMarked;
