package io.github.moelora.tornado.plan;

import io.github.moelora.MoeLoraConfig;
import io.github.moelora.tornado.kernels.SmallKernels;
import io.github.moelora.tornado.layout.StepArrays;
import io.github.moelora.tornado.layout.StepWords;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;
import uk.ac.manchester.tornado.api.TaskGraph;
import uk.ac.manchester.tornado.api.enums.DataTransferMode;
import uk.ac.manchester.tornado.api.types.arrays.FloatArray;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;

/**
 * What the engine says of a step, on its way to the device: tokens, adapters, slots that take part.
 */
public final class StepInput {
  private final String name;
  private final int maxTokens;
  private final StepArrays arrays;
  private final StepArrays handles = StepArrays.handles();

  /** A router that always chooses expert 0; used where there is no other. */
  private final IntArray zeros;

  private final IntArray zeroHandle = new IntArray(1);
  private final boolean onlyExpert;
  private @Nullable IntArray deviceIds;
  private final IntArray read;

  /**
   * @param name of the graph that owns the arrays
   * @param onlyExpert whether {@link #onlyExpert} will be asked for
   */
  public StepInput(String name, MoeLoraConfig config, boolean onlyExpert) {
    this.name = name;
    this.onlyExpert = onlyExpert;
    maxTokens = config.maxTokens();
    arrays = StepArrays.of(config);
    read = new IntArray(arrays.errors().getSize());
    zeros = new IntArray(config.maxPairs());
    zeros.init(0);
  }

  /** Name of the graph that owns the arrays on the device. */
  public String name() {
    return name;
  }

  /** Takes adapter ids from an array of the engine. */
  public void useAdapterIds(IntArray ids) {
    deviceIds = ids;
  }

  /**
   * What kernels of the engine's graphs read.
   *
   * @param transfers whether their graph transfers the step: then they read what it transfers
   */
  public StepArrays handles(boolean transfers) {
    StepArrays own = transfers ? arrays : handles;
    return new StepArrays(
        own.step(),
        deviceIds == null ? own.adapterIds() : deviceIds,
        handles.expertMap(),
        handles.errors());
  }

  /** The words of a step on the device, {@link StepWords}. */
  public IntArray words() {
    return arrays.step();
  }

  /** What stands for {@link #words} in the engine's graphs. */
  public IntArray wordsHandle() {
    return handles.step();
  }

  /** The stand-ins in the engine's graphs. */
  public Object[] allHandles(boolean transfers) {
    return list(handles, zeroHandle, transfers);
  }

  /** The arrays on the device, in the order of the handles. */
  public Object[] allArrays(boolean transfers) {
    return list(arrays, zeros, transfers);
  }

  private Object[] list(StepArrays step, IntArray router, boolean transfers) {
    List<Object> list = new ArrayList<>(List.of(step.expertMap(), step.errors()));
    if (!transfers) {
      list.add(step.step());
      if (deviceIds == null) {
        list.add(step.adapterIds());
      }
    }
    if (onlyExpert) {
      list.add(router);
    }
    return list.toArray();
  }

  /** What changes from step to step. */
  public Object[] transferred() {
    return deviceIds == null
        ? new Object[] {arrays.step(), arrays.adapterIds()}
        : new Object[] {arrays.step()};
  }

  /** The plan of layers with one expert, which every token chooses with weight 1. */
  public PairPlan onlyExpert(int tokens, boolean transfers) {
    return new PairPlan(handles(transfers), zeroHandle, new FloatArray(1), tokens);
  }

  /** Words that count pairs with ids out of range. */
  public IntArray errors() {
    return arrays.errors();
  }

  /** Graph that owns the arrays on the device and transfers a step when it is run. */
  public TaskGraph graph() {
    // TornadoVM gives no memory to what a task does not use and only the first run transfers
    TaskGraph graph =
        new TaskGraph(name)
            .transferToDevice(DataTransferMode.EVERY_EXECUTION, transferred())
            .transferToDevice(DataTransferMode.EVERY_EXECUTION, arrays.expertMap());
    if (onlyExpert) {
      graph.transferToDevice(DataTransferMode.EVERY_EXECUTION, zeros);
    }
    return graph
        .transferToDevice(DataTransferMode.FIRST_EXECUTION, arrays.errors())
        .task("readStep", SmallKernels::readStep, arrays.step(), arrays.errors(), read)
        .persistOnDevice(allArrays(false))
        // named, so that closing the plan frees its device memory and its pinned host memory
        .persistOnDevice(read)
        .transferToHost(DataTransferMode.UNDER_DEMAND, arrays.errors());
  }

  /**
   * Takes over a step.
   *
   * @param adapterIds slots or -1 of the tokens; none if they are on the device
   * @param active which slots take part
   * @return whether anything changed
   */
  public boolean write(int tokens, int[] adapterIds, boolean[] active) {
    boolean changed = set(arrays.step(), StepWords.TOKENS, tokens);
    for (int slot = 0; slot < active.length; slot++) {
      changed |= set(arrays.step(), StepWords.FIRST_SLOT + slot, active[slot] ? 1 : 0);
    }
    for (int t = 0; t < Math.min(maxTokens, adapterIds.length); t++) {
      changed |= set(arrays.adapterIds(), t, adapterIds[t]);
      changed |= set(arrays.step(), StepWords.firstId(active.length) + t, adapterIds[t]);
    }
    return changed;
  }

  private static boolean set(IntArray array, int index, int value) {
    boolean changed = array.get(index) != value;
    if (changed) {
      array.set(index, value);
    }
    return changed;
  }
}
