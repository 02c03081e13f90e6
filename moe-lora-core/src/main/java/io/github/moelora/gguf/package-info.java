/**
 * LoRA adapters in GGUF, the file format of llama.cpp: read, and written so that llama.cpp loads
 * them. Files are taken for hostile: everything is checked before anything is used, sizes that a
 * file claims never decide how much is allocated, and what is wrong is told with file, tensor, rule
 * and value.
 */
@NullMarked
package io.github.moelora.gguf;

import org.jspecify.annotations.NullMarked;
