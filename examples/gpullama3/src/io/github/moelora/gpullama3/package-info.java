/** Adapters inside GPULlama3.java, and what checks and measures them there. */
@NullMarked
package io.github.moelora.gpullama3;

import org.jspecify.annotations.NullMarked;
