@NullMarked
package io.github.moelora.tornado.choice;

import org.jspecify.annotations.NullMarked;
