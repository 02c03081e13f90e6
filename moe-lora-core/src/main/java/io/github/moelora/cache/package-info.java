/**
 * More adapters than slots: names to adapters, kept in host memory and in the slots of a {@link
 * io.github.moelora.MoeLora}, leased to requests.
 */
@NullMarked
package io.github.moelora.cache;

import org.jspecify.annotations.NullMarked;
