/**
 * Adapters as Hugging Face PEFT saves them. Files are taken for hostile: everything is checked
 * before anything is used, nothing is copied, and what is wrong is told with file, tensor, rule and
 * value.
 */
@NullMarked
package io.github.moelora.peft;

import org.jspecify.annotations.NullMarked;
