/**
 * Memory and slot changes of graphs that belong to an engine; it knows neither tuning nor the API.
 */
@NullMarked
package io.github.moelora.tornado.engine;

import org.jspecify.annotations.NullMarked;
