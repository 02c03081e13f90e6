package io.github.moelora.testkit;

import io.github.moelora.MoeLoraConfig;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/**
 * The plan that the definition gives, without a thought for speed: lists of pairs by (slot, local
 * expert), cut into blocks; then the pairs without work.
 */
public record NaiveRouting(List<Block> blocks, int activeBlocks, int activePairs, int groups) {

  /** One block; fewer pairs than the block size where it is padded. */
  public record Block(int slot, int localExpert, List<Integer> pairs) {}

  private record Group(int slot, int localExpert) {}

  /**
   * Plans a batch.
   *
   * @param expertIds {@code [P]}, global ids or -1
   * @param adapterIds {@code [T]}, slots or -1
   * @param active {@code [L]}, which slots hold an enabled adapter
   */
  public static NaiveRouting of(
      MoeLoraConfig config, int[] expertIds, int[] adapterIds, boolean[] active, int blockSize) {
    Map<Group, List<Integer>> groups =
        new TreeMap<>(Comparator.comparingInt(Group::slot).thenComparingInt(Group::localExpert));
    List<Integer> idle = new ArrayList<>();
    List<Block> unsorted = new ArrayList<>();
    for (int p = 0; p < expertIds.length; p++) {
      int slot = adapterIds[p / config.expertsPerToken()];
      int expert = expertIds[p] == -1 ? -1 : config.expertMap().local(expertIds[p]);
      if (slot == -1 || !active[slot] || expert == -1) {
        idle.add(p);
      } else {
        groups.computeIfAbsent(new Group(slot, expert), group -> new ArrayList<>()).add(p);
        unsorted.add(new Block(slot, expert, List.of(p)));
      }
    }
    List<Block> blocks = new ArrayList<>();
    if (blockSize == 1) {
      blocks.addAll(unsorted);
    } else {
      groups.forEach(
          (group, pairs) -> cut(blocks, group.slot(), group.localExpert(), pairs, blockSize));
    }
    int activeBlocks = blocks.size();
    cut(blocks, -1, -1, idle, blockSize);
    return new NaiveRouting(blocks, activeBlocks, unsorted.size(), groups.size());
  }

  private static void cut(
      List<Block> blocks, int slot, int expert, List<Integer> pairs, int blockSize) {
    for (int from = 0; from < pairs.size(); from += blockSize) {
      blocks.add(
          new Block(slot, expert, pairs.subList(from, Math.min(from + blockSize, pairs.size()))));
    }
  }
}
