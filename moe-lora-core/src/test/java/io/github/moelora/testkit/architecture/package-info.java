/**
 * What the {@code ArchitectureTest}s of the modules share: rooms and their arrows, limits on
 * methods.
 */
@NullMarked
package io.github.moelora.testkit.architecture;

import org.jspecify.annotations.NullMarked;
