/** The plan of a step on its way to an engine's graphs. */
@NullMarked
package io.github.moelora.tornado.plan;

import org.jspecify.annotations.NullMarked;
