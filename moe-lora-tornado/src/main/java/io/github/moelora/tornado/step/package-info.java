/** The backend and its steps on host arrays. */
@NullMarked
package io.github.moelora.tornado.step;

import org.jspecify.annotations.NullMarked;
