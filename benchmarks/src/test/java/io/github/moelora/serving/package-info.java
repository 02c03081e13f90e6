/** Tests of the load test. */
@NullMarked
package io.github.moelora.serving;

import org.jspecify.annotations.NullMarked;
