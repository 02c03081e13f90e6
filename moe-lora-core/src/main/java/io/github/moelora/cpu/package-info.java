/**
 * The embedded default: all cores, nothing to install.
 *
 * <p>An adapter is packed at load into the panels that the kernels read ({@link
 * io.github.moelora.cpu.PackedAdapter}). A run shrinks, then expands; each phase is split over
 * (block, ranks) or (block, columns), so that a single token uses all cores too. Every sum has one
 * order whatever the split, so results do not depend on the number of threads.
 */
@NullMarked
package io.github.moelora.cpu;

import org.jspecify.annotations.NullMarked;
