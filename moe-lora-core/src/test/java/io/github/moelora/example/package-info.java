/** The example of docs/serving.md. */
@NullMarked
package io.github.moelora.example;

import org.jspecify.annotations.NullMarked;
