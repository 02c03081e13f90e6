@NullMarked
package io.github.moelora.tornado.engine;

import org.jspecify.annotations.NullMarked;
