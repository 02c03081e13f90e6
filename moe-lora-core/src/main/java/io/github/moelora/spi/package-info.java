/** What a backend implements; engines use {@link io.github.moelora.MoeLora} instead. */
@NullMarked
package io.github.moelora.spi;

import org.jspecify.annotations.NullMarked;
