/** A CPU emulation of {@code KernelContext} with tensor cores, and mutants of the kernels on it. */
@NullMarked
package io.github.moelora.tornado.emulator;

import org.jspecify.annotations.NullMarked;
