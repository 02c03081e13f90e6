@NullMarked
package io.github.moelora.tornado.tune;

import org.jspecify.annotations.NullMarked;
