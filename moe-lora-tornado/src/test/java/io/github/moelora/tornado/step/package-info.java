@NullMarked
package io.github.moelora.tornado.step;

import org.jspecify.annotations.NullMarked;
