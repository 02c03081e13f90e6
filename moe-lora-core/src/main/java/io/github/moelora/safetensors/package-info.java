/**
 * The safetensors file format. Files are taken for hostile: the header is checked before anything
 * is used, nothing is copied, and what is wrong is told with file, tensor, rule and value.
 */
@NullMarked
package io.github.moelora.safetensors;

import org.jspecify.annotations.NullMarked;
