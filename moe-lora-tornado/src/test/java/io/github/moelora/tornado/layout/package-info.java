@NullMarked
package io.github.moelora.tornado.layout;

import org.jspecify.annotations.NullMarked;
