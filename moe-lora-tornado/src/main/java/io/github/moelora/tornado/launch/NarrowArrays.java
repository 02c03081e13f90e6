package io.github.moelora.tornado.launch;

import io.github.moelora.tornado.choice.Tiling;
import io.github.moelora.tornado.layout.DevicePlan;
import uk.ac.manchester.tornado.api.types.arrays.FloatArray;
import uk.ac.manchester.tornado.api.types.arrays.HalfFloatArray;
import uk.ac.manchester.tornado.api.types.arrays.TornadoNativeArray;

/**
 * 16-bit activations of one projection, all on the device when the tasks run.
 *
 * @param plan the plan
 * @param x in, 16-bit {@code [T, H]} or {@code [P, H]}
 * @param z scratch, at least {@link Tiling#zElements} long
 * @param y in and out, 16-bit {@code [P, yWidth]}: an {@code IntArray} of words for bfloat16, a
 *     {@code HalfFloatArray} for float16; or a {@code FloatArray} {@code [P, O]} that gets the
 *     deltas
 */
public record NarrowArrays(DevicePlan plan, HalfFloatArray x, FloatArray z, TornadoNativeArray y) {}
