/**
 * Which kernel runs, on blocks of what size, and how it cuts the work; names nothing of TornadoVM.
 */
@NullMarked
package io.github.moelora.tornado.choice;

import org.jspecify.annotations.NullMarked;
