/** Tests of the cache. */
@NullMarked
package io.github.moelora.cache;

import org.jspecify.annotations.NullMarked;
