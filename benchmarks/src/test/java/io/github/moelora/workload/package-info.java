@NullMarked
package io.github.moelora.workload;

import org.jspecify.annotations.NullMarked;
