@NullMarked
package io.github.moelora.tornado.device;

import org.jspecify.annotations.NullMarked;
