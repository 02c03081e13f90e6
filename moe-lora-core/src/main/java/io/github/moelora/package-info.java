/**
 * Many LoRA adapters at once inside Mixture-of-Experts layers.
 *
 * <p>Symbols, the same everywhere: {@code T} tokens, {@code K} experts per token, {@code P = T*K}
 * pairs ({@code p = t*K + k}), {@code E} experts, {@code L} adapter slots, {@code R} rank, {@code
 * H} input width, {@code O} output width of one slice, {@code S} slices. Matrices are row-major.
 */
@NullMarked
package io.github.moelora;

import org.jspecify.annotations.NullMarked;
