/**
 * All code that runs on the device. It knows neither the host's memory nor task graphs.
 *
 * <p>Kernels are the public static methods of public classes; stages are static methods that
 * TornadoVM inlines. What its compiler asks of them:
 *
 * <ol>
 *   <li>Only the method that allocates a local {@code int[]}, {@code long[]} or {@code float[]} may
 *       index it. In a method that is given one, the index is taken for one of an array in global
 *       memory: silently wrong. Giving it to {@code mma} operations is fine, and so is returning
 *       it.
 *   <li>A cast by {@code LocalTile} stands where the array is allocated; one stage further in, the
 *       compiler sees a null: silently wrong, too.
 *   <li>A stage that allocates has the same array each time it comes by, and one for each place
 *       that calls it.
 *   <li>A stage has at most 600 nodes, those of its own stages included, before constants are
 *       known.
 *   <li>The context's {@code localIdx} and {@code groupIdx} are read once, in the kernel.
 *   <li>Numbers of a thread that stages share stand in small private arrays with constant indices,
 *       which become registers.
 *   <li>A boolean that holds a conjunction is used once. Used twice, the second use may see one of
 *       its comparisons negated: silently wrong. Let one comparison decide instead.
 *   <li>What is loaded or converted in a branch is waited for before the next is read; let loads
 *       stand in straight lines, and make what is not wanted 0 by arithmetic. NVIDIA's assembler
 *       also keeps few loads under way to save registers, unless a barrier follows and what they
 *       are multiplied by comes from on chip behind it.
 *   <li>The bound of a loop that is found by branches, as a conditional in a stage, stands in a
 *       variable before the loop. In the loop's condition, all code behind the loop was left out:
 *       silently. The printed kernel must hold as many barriers as the source.
 *   <li>A condition of two parts joined by {@code ||} around the end of a loop's body: the CUDA
 *       printer may leave out the jump to the next iteration where both are false, and the body
 *       runs. Let one comparison decide.
 *   <li>Fragments of {@code mma} survive only straight-line code.
 *   <li>They are loaded 16 bytes at a time, from arrays that begin where the one before them ends:
 *       besides one of {@code mma}'s, a local array whose size depends on the batch is a multiple
 *       of four ints. Else the device stops with a misaligned address, for some sizes only.
 *   <li>A branch on the thread's number that has a loop in it, behind a barrier, and both in a
 *       branch that all threads take: PoCL 3.1 runs it for every thread, silently
 *       (findings/pocl-branch-behind-barrier.sh). Let the loop stand outside of the branch, with no
 *       turns for the other threads.
 *   <li>NVRTC computes the 64-bit addresses of all that a loop loads or stores from the thread's
 *       number before the loop, and holds them in registers. A number that seems to change with the
 *       iteration, see {@code GroupShrink.again}, stops it.
 * </ol>
 */
@NullMarked
package io.github.moelora.tornado.kernels;

import org.jspecify.annotations.NullMarked;
