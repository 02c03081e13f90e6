/**
 * Regular expressions over module names as PEFT reads them from configurations. They are Python's,
 * and written by whoever made the adapter: trainers use lookahead, which RE2/J refuses, and Java's
 * own engine refuses {@code (?P<n>} and {@code {,n}} and can be kept busy for years. So the package
 * has an engine of its own, whose steps are bounded.
 */
@NullMarked
package io.github.moelora.peft.names;

import org.jspecify.annotations.NullMarked;
