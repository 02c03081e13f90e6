package io.github.moelora.tornado.kernels;

import io.github.moelora.tornado.layout.GroupNumbers;
import io.github.moelora.tornado.layout.PackedLayout;
import io.github.moelora.tornado.layout.SliceTable;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;

/**
 * Stages of {@link GroupKernels}: which expert, slots, slice and columns a work-group has. Its
 * numbers stand where stages of {@link MmaExpand} look for them, see {@link ExpandItem}, and some
 * more behind those.
 */
final class GroupItem {
  /** First tile of 8 stacked ranks that the slice has part in. */
  static final int FIRST_TILE = ExpandItem.INTS;

  /** The tile after its last. */
  static final int END_TILE = ExpandItem.INTS + 1;

  /** The slice's first rank among those of its first tile. */
  static final int SKIPPED = ExpandItem.INTS + 2;

  /** Longs from one step of A to the next. */
  static final int STEP_LONGS = ExpandItem.INTS + 3;

  /** Where A of the site begins. */
  static final int A = ExpandItem.INTS + 4;

  /** Slot of the pairs at hand. */
  static final int SLOT = ExpandItem.INTS + 5;

  /** Position of the first row at hand among these pairs. */
  static final int FROM = ExpandItem.INTS + 6;

  /** Pairs of the slot that the threads before this one have. */
  static final int BEFORE = ExpandItem.INTS + 7;

  /** 1 if pairs with an id out of range are counted together with those of the slot, else 0. */
  static final int COUNTS = ExpandItem.INTS + 8;

  /** Numbers of an item. */
  static final int INTS = ExpandItem.INTS + 9;

  private GroupItem() {}

  /** Local expert of a work-group. */
  static int expert(int group, int cut) {
    return group
        / (GroupNumbers.shares(cut) * GroupNumbers.slices(cut) * GroupNumbers.classes(cut));
  }

  /** First slot of a work-group; the others follow at distances of the number of classes. */
  private static int firstSlot(int group, int cut) {
    return group
        / (GroupNumbers.shares(cut) * GroupNumbers.slices(cut))
        % GroupNumbers.classes(cut);
  }

  /** Slots that a work-group looks for, the last ones of which may not be there. */
  static int slots(int sites, int cut) {
    int classes = GroupNumbers.classes(cut);
    return (GroupNumbers.slots(sites) + classes - 1) / classes;
  }

  /**
   * Finds what the pairs of a slot need; of another slot where it is none.
   *
   * @param turn number of the slot among those of the work-group
   */
  static void find(
      int[] item, IntArray slices, int group, int turn, int sites, int cut, int tiles) {
    int slot = firstSlot(group, cut) + turn * GroupNumbers.classes(cut);
    int shares = GroupNumbers.shares(cut);
    int share = group % shares;
    int second = group / shares % GroupNumbers.slices(cut);
    int row = Math.min(slot, GroupNumbers.slots(sites) - 1);
    int site = row * GroupNumbers.localExperts(sites) + expert(group, cut);
    int at = site * SliceTable.INTS;
    int slice = at + second * SliceTable.FIELDS;
    int before = second * slices.get(at + SliceTable.RANK);
    int stack = ShrinkItem.ranks(slices, at);
    int rank = slices.get(slice + SliceTable.RANK);
    int columns = slices.get(slice + SliceTable.COLUMNS);
    int together = GroupNumbers.columns(tiles);
    int chunks = (columns + together - 1) / together;
    int perShare = (chunks + shares - 1) / shares;
    item[SLOT] = slot;
    item[COUNTS] = group + turn == 0 ? GroupNumbers.countErrors(cut) : 0;
    item[ExpandItem.ADD] = 1;
    item[ExpandItem.SCALE] = 2 * site + second;
    item[ExpandItem.SLICE] = slice;
    item[ExpandItem.RANK] = rank;
    item[ExpandItem.UNITS] = PackedLayout.rankUnits(rank);
    item[ExpandItem.B] = slices.get(slice + SliceTable.B);
    item[ExpandItem.FIRST] = share * perShare;
    item[ExpandItem.END] = Math.min(chunks, (share + 1) * perShare);
    item[ExpandItem.LAST_LONG] = (columns >> 2) - 1;
    item[FIRST_TILE] = before >> 3;
    item[END_TILE] = PackedLayout.rankTiles(before + rank);
    item[SKIPPED] = before & 7;
    item[STEP_LONGS] = PackedLayout.rankTiles(stack) * ShrinkTiles.A_TILE;
    item[A] = slices.get(at + SliceTable.A);
  }

  /** Pairs of the slot that the work-group computes: all, or none where it has no columns. */
  static int work(int[] item, int pairs) {
    return item[ExpandItem.FIRST] < item[ExpandItem.END] ? pairs : 0;
  }

  /** Pairs that share a row of x. */
  static int pairsPerRow(int perToken, int cut) {
    return GroupNumbers.pairRows(cut) ? 1 : perToken;
  }

  /**
   * Gives the item its rows.
   *
   * @param from position of the first among the pairs of the slot
   * @param rows how many
   */
  static void setRows(int[] item, int from, int rows, int maxPairs) {
    item[ExpandItem.PAIRS] = maxPairs;
    item[ExpandItem.ROWS] = rows;
    item[FROM] = from;
  }
}
