/**
 * Appends kernels to task graphs, with constants and grids; knows not where the arrays come from.
 */
@NullMarked
package io.github.moelora.tornado.launch;

import org.jspecify.annotations.NullMarked;
