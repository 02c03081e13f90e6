/** What tests of every backend share: random problems and their check against the reference. */
@NullMarked
package io.github.moelora.testkit;

import org.jspecify.annotations.NullMarked;
