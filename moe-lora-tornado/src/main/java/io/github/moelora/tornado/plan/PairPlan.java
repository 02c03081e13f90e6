package io.github.moelora.tornado.plan;

import io.github.moelora.tornado.layout.StepArrays;
import uk.ac.manchester.tornado.api.types.arrays.FloatArray;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;

/**
 * A plan that nobody makes: the router's own arrays, pair by pair, and what the engine said of the
 * step.
 *
 * @param step as the engine's graphs see it
 * @param expertIds int32 {@code [T, K]}
 * @param routingWeights float32 {@code [T, K]}
 * @param maxPairs of a step
 */
public record PairPlan(StepArrays step, IntArray expertIds, FloatArray routingWeights, int maxPairs)
    implements PlanSource {}
