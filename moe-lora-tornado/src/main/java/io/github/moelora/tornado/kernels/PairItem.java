package io.github.moelora.tornado.kernels;

import io.github.moelora.tornado.layout.FloatTable;
import io.github.moelora.tornado.layout.PackedLayout;
import io.github.moelora.tornado.layout.PairMode;
import io.github.moelora.tornado.layout.Sizes;
import io.github.moelora.tornado.layout.SliceTable;
import io.github.moelora.tornado.layout.StepWords;
import uk.ac.manchester.tornado.api.types.arrays.FloatArray;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;

/**
 * Stages of {@link PairKernels}: which pairs and columns an item has, and which ranks they need.
 *
 * <p>The numbers of an item stand in an array of the thread, which the compiler keeps in registers.
 */
final class PairItem {
  /** Shares of the columns of a part. */
  static final int SHARES = 0;

  /** Columns of a share. */
  static final int PER_SHARE = 1;

  /** First pair of the item. */
  static final int FIRST_PAIR = 2;

  /** The pair after its last: it adds up those of a token, or has one. */
  static final int END_PAIR = 3;

  /** Its first column. */
  static final int FIRST = 4;

  /** The column after its last. */
  static final int END = 5;

  /** Slot and expert of the pair at hand, see {@link PairSites#of}. */
  static final int SITE = 6;

  /** Ranks of its first slice. */
  static final int RANK0 = 7;

  /** Ranks of its second slice. */
  static final int RANK1 = 8;

  /** First of the stacked ranks that the columns need. */
  static final int FIRST_RANK = 9;

  /** The rank after the last. */
  static final int END_RANK = 10;

  /** Where its row of x begins. */
  static final int X = 11;

  /** {@code H}. */
  static final int WIDTH = 12;

  /** First tile of ranks of packed A. */
  static final int FIRST_TILE = 13;

  /** Tiles of ranks. */
  static final int TILES = 14;

  /** A pass takes two to the power of this tiles of ranks, up to one for each warp. */
  static final int TILE_SHIFT = 15;

  /** A of the first slice in its pool; then, of packed A, the first long of {@link #FIRST_TILE}. */
  static final int A = 16;

  /** Longs from one row of tiles of packed A to the next. */
  static final int ROW_LONGS = 17;

  /** A of the second slice in its pool. */
  static final int A1 = 18;

  /** B of each slice in its pool, first column, and the column after its last. */
  static final int B0 = 19;

  static final int B1 = 20;
  static final int FIRST0 = 21;
  static final int FIRST1 = 22;
  static final int END0 = 23;
  static final int END1 = 24;

  /** Parts that the columns fall into: a slice each, if sites have two. */
  private static final int PARTS = 25;

  /** Columns of a part. */
  private static final int PER_PART = 26;

  /** Numbers of an item. */
  static final int INTS = 27;

  /** Columns that a share has a multiple of: those that lie together in packed B. */
  private static final int ALIGNMENT = PackedLayout.GROUP;

  private PairItem() {}

  /**
   * Reads the sizes of a call and finds what all items share.
   *
   * @param call in, see {@link Sizes}
   * @param sizes out, the same
   */
  static int count(
      int[] item, int[] sizes, IntArray call, IntArray step, IntArray slices, int mode) {
    sizes[Sizes.INPUT_WIDTH] = call.get(Sizes.INPUT_WIDTH);
    sizes[Sizes.Y_WIDTH] = call.get(Sizes.Y_WIDTH);
    sizes[Sizes.COLUMN_OFFSET] = call.get(Sizes.COLUMN_OFFSET);
    sizes[Sizes.PAIRS_PER_ROW] = call.get(Sizes.PAIRS_PER_ROW);
    sizes[Sizes.TARGET_ITEMS] = call.get(Sizes.TARGET_ITEMS);
    sizes[Sizes.COLUMNS] = call.get(Sizes.COLUMNS);
    sizes[Sizes.MAX_PAIRS] = call.get(Sizes.MAX_PAIRS);
    sizes[Sizes.PAIRS_PER_ITEM] = call.get(Sizes.PAIRS_PER_ITEM);
    sizes[Sizes.GROUPS] = call.get(Sizes.GROUPS);
    return count(item, sizes, step, slices.get(SliceTable.MOST_SLICES), mode);
  }

  /**
   * Sets the sizes of a call of {@link WidePairs}, whose constants they are.
   *
   * @param sizes out, see {@link Sizes}
   */
  static void setSizes(
      int[] sizes,
      int perToken,
      int width,
      int yWidth,
      int columnOffset,
      int outputs,
      int maxPairs,
      int units,
      int mode) {
    sizes[Sizes.INPUT_WIDTH] = width;
    sizes[Sizes.Y_WIDTH] = yWidth;
    sizes[Sizes.COLUMN_OFFSET] = columnOffset;
    sizes[Sizes.PAIRS_PER_ROW] = PairMode.has(mode, PairMode.PAIR_ROWS) ? 1 : perToken;
    sizes[Sizes.TARGET_ITEMS] = units;
    sizes[Sizes.COLUMNS] = outputs;
    sizes[Sizes.MAX_PAIRS] = maxPairs;
    sizes[Sizes.PAIRS_PER_ITEM] = PairMode.has(mode, PairMode.COMBINED) ? perToken : 1;
  }

  /**
   * Finds what all items share. Where sites have two slices, of half the columns each as gate and
   * up have, no item has columns of both: it would need the ranks of both.
   *
   * @param mostSlices of a site, 0 in a table in which nothing was ever entered
   * @return how many items there are
   */
  static int count(int[] item, int[] sizes, IntArray step, int mostSlices, int mode) {
    int pairs = PairSites.pairs(step, sizes[Sizes.MAX_PAIRS]);
    int rows = pairs / sizes[Sizes.PAIRS_PER_ITEM];
    int columns = sizes[Sizes.COLUMNS];
    int target = sizes[Sizes.TARGET_ITEMS];
    int parts = 1;
    if (!PairMode.has(mode, PairMode.ACTIVATED)) {
      parts = Math.min(Math.max(1, mostSlices), (columns & 3) == 0 ? 2 : 1);
    }
    int perPart = columns >> (parts - 1);
    int wanted = Math.max(1, target / Math.max(1, rows * parts));
    int perShare = ((perPart + wanted - 1) / wanted + ALIGNMENT - 1) & -ALIGNMENT;
    item[PARTS] = parts;
    item[PER_PART] = perPart;
    item[PER_SHARE] = perShare;
    item[SHARES] = (perPart + perShare - 1) / perShare;
    item[WIDTH] = sizes[Sizes.INPUT_WIDTH];
    return rows * parts * item[SHARES];
  }

  /** Finds an item. */
  static void find(int[] item, int[] sizes, int index) {
    int rowPart = index / item[SHARES];
    int share = index - rowPart * item[SHARES];
    int row = rowPart >> (item[PARTS] - 1);
    int part = rowPart & (item[PARTS] - 1);
    int perItem = sizes[Sizes.PAIRS_PER_ITEM];
    item[FIRST_PAIR] = row * perItem;
    item[END_PAIR] = item[FIRST_PAIR] + perItem;
    item[FIRST] = part * item[PER_PART] + share * item[PER_SHARE];
    item[END] = Math.min((part + 1) * item[PER_PART], item[FIRST] + item[PER_SHARE]);
  }

  /**
   * A site of the slice table: {@link PairSites#ofExpert} of the pair where that is one, else any.
   * What it says can be read before it is known which.
   */
  static int guess(IntArray step, IntArray adapterIds, IntArray expertMap, int expert, int pair) {
    int slot = adapterIds.get(pair / step.get(StepWords.EXPERTS_PER_TOKEN));
    int local = Math.max(0, Math.min(expert, step.get(StepWords.EXPERTS) - 1));
    int localExperts = step.get(StepWords.LOCAL_EXPERTS);
    if (step.get(StepWords.MAPPED) != 0) {
      local = expertMap.get(local);
    }
    int row = Math.max(0, Math.min(slot, step.get(StepWords.SLOTS) - 1));
    return Math.max(0, row * localExperts + Math.min(local, localExperts - 1));
  }

  /**
   * Finds what weights a pair meets.
   *
   * @param guess the pair's site, or any, from {@link #guess}: so the table is read while it is
   *     found out whether the site is right
   * @param factors out, the scales of both slices
   */
  static void meet(
      int[] item,
      int[] sizes,
      IntArray slices,
      FloatArray scales,
      float[] factors,
      int pair,
      int guess,
      int site,
      int mode) {
    int at = guess * SliceTable.INTS;
    int next = at + SliceTable.FIELDS;
    int has = site < 0 ? 0 : 1;
    factors[0] = scales.get(2 * guess);
    factors[1] = scales.get(2 * guess + 1);
    item[SITE] = site;
    item[RANK0] = has * slices.get(at + SliceTable.RANK);
    item[RANK1] = has * slices.get(next + SliceTable.RANK);
    item[A] = slices.get(at + SliceTable.A);
    item[A1] = slices.get(next + SliceTable.A);
    item[B0] = slices.get(at + SliceTable.B);
    item[B1] = slices.get(next + SliceTable.B);
    item[FIRST0] = slices.get(at + SliceTable.FIRST_COLUMN);
    item[FIRST1] = slices.get(next + SliceTable.FIRST_COLUMN);
    item[END0] = item[FIRST0] + has * slices.get(at + SliceTable.COLUMNS);
    item[END1] = item[FIRST1] + has * slices.get(next + SliceTable.COLUMNS);
    need(item, sizes, pair, mode);
  }

  /**
   * Looks a pair up: its site, as {@link PairSites#ofExpert} finds it, and an entry of the table
   * that can be read before it is known whether it is the pair's.
   *
   * @param ahead out, {@link #SITE}
   * @param entry out, {@link FloatTable#FLOATS} of {@code table}
   * @param step in, {@link StepWords} with the tokens' adapters and the expert map
   * @param expert of the pair
   */
  static void look(
      int[] ahead,
      float[] entry,
      IntArray step,
      FloatArray table,
      int expert,
      int pair,
      int perToken,
      int slots) {
    // all is read before anything depends on it: a load in a branch waits for what decides that
    int slot = step.get(StepWords.firstId(slots) + pair / perToken);
    int experts = step.get(StepWords.EXPERTS);
    int localExperts = step.get(StepWords.LOCAL_EXPERTS);
    int mapped = step.get(StepWords.MAPPED);
    int row = Math.max(0, Math.min(slot, slots - 1));
    int active = step.get(StepWords.FIRST_SLOT + row);
    int local = expert;
    if (mapped != 0) {
      int there = Math.max(0, Math.min(expert, experts - 1));
      local = step.get(step.get(StepWords.EXPERT_MAP) + there);
    }
    int known = Math.max(0, Math.min(local, localExperts - 1));
    int from = FloatTable.FIRST + (row * localExperts + known) * FloatTable.FLOATS;
    for (int i = 0; i < FloatTable.FLOATS; i++) {
      entry[i] = table.get(from + i);
    }
    int inRange = PairSites.inRange(slot, slots, expert, experts);
    int isThere = Math.min(Math.min(slot, expert), Math.min(local, active - 1));
    ahead[SITE] = Math.min(inRange, isThere) < 0 ? PairSites.NONE : row * localExperts + local;
  }

  /** The expert of a combined item's second pair, or of its only one; else of no use. */
  static int second(int[] item, IntArray expertIds, int mode) {
    return expert(item, expertIds, item[FIRST_PAIR] + 1, mode);
  }

  /** The expert of a combined item's pair, or behind its last of that. */
  private static int expert(int[] item, IntArray expertIds, int pair, int mode) {
    int expert = 0;
    if (PairMode.has(mode, PairMode.COMBINED)) {
      expert = expertIds.get(Math.min(pair, item[END_PAIR] - 1));
    }
    return expert;
  }

  /**
   * Looks a combined item's next pair up, so that all of that is under way while it computes the
   * one at hand.
   *
   * @param next the next pair's expert
   * @return the expert of the pair after the next
   */
  static int lookOn(
      int[] item,
      int[] ahead,
      float[] entry,
      IntArray step,
      FloatArray table,
      IntArray expertIds,
      int next,
      int pair,
      int perToken,
      int slots,
      int mode) {
    if (PairMode.has(mode, PairMode.COMBINED)) {
      int there = Math.min(pair + 1, item[END_PAIR] - 1);
      look(ahead, entry, step, table, next, there, perToken, slots);
    }
    return expert(item, expertIds, pair + 2, mode);
  }

  /**
   * Finds what weights a pair meets.
   *
   * @param ahead in, the pair's from {@link #look}
   * @param entry in, the same
   * @param factors out, the scales of both slices
   */
  static void meet(
      int[] item, int[] sizes, int[] ahead, float[] entry, float[] factors, int pair, int mode) {
    int next = FloatTable.FIELDS;
    int has = ahead[SITE] < 0 ? 0 : 1;
    factors[0] = entry[FloatTable.SCALE];
    factors[1] = entry[next + FloatTable.SCALE];
    item[SITE] = ahead[SITE];
    item[RANK0] = has * (int) entry[FloatTable.RANK];
    item[RANK1] = has * (int) entry[next + FloatTable.RANK];
    item[A] = offset(entry, FloatTable.A);
    item[A1] = offset(entry, next + FloatTable.A);
    item[B0] = offset(entry, FloatTable.B);
    item[B1] = offset(entry, next + FloatTable.B);
    item[FIRST0] = (int) entry[FloatTable.FIRST_COLUMN];
    item[FIRST1] = (int) entry[next + FloatTable.FIRST_COLUMN];
    item[END0] = item[FIRST0] + has * (int) entry[FloatTable.COLUMNS];
    item[END1] = item[FIRST1] + has * (int) entry[next + FloatTable.COLUMNS];
    need(item, sizes, pair, mode);
  }

  private static int offset(float[] entry, int at) {
    int high = (int) entry[at];
    return high * FloatTable.SPLIT + (int) entry[at + 1];
  }

  /** Finds which ranks an item's columns need, and the pair's row of x. */
  private static void need(int[] item, int[] sizes, int pair, int mode) {
    int rank0 = item[RANK0];
    int ranks = rank0 + item[RANK1];
    int in0 = Math.min(item[END0], item[END]) - Math.max(item[FIRST0], item[FIRST]);
    int in1 = Math.min(item[END1], item[END]) - Math.max(item[FIRST1], item[FIRST]);
    if (PairMode.has(mode, PairMode.ACTIVATED)) {
      in0 = 1;
      in1 = 1;
    }
    item[FIRST_RANK] = in0 > 0 ? 0 : rank0;
    item[END_RANK] = in1 > 0 ? ranks : rank0;
    item[X] = pair / sizes[Sizes.PAIRS_PER_ROW] * item[WIDTH];
  }

  /** Finds the tiles of packed A. */
  static void findTiles(int[] item) {
    int firstTile = item[FIRST_RANK] >> 3;
    int tiles = Math.max(1, ((item[END_RANK] - 1) >> 3) - firstTile + 1);
    item[FIRST_TILE] = firstTile;
    item[TILES] = tiles;
    // with fewer tiles than warps, several warps share the H of one
    item[TILE_SHIFT] = tiles > 4 ? 3 : tiles > 2 ? 2 : tiles - 1;
    item[A] += firstTile * OneShotA.TILE;
    item[ROW_LONGS] = PackedLayout.rankTiles(item[RANK0] + item[RANK1]) * OneShotA.TILE;
  }

  /** Whether the columns have a delta. */
  static boolean hasRanks(int[] item) {
    return item[FIRST_RANK] < item[END_RANK];
  }

  /**
   * Whether something must be stored: without a delta, zeros, what the activation makes, or what
   * the shared expert adds.
   *
   * <p>One comparison, for it ends the body of a loop: where two that {@code ||} joins are both
   * false, the CUDA that TornadoVM prints does not go on to the next pair, but through the body
   * with its number, and so stored to the row of the next token what that was before.
   */
  static boolean hasWork(int[] item, int pair, int mode) {
    int work = item[END_RANK] - item[FIRST_RANK];
    if (PairMode.has(mode, PairMode.SHARED)) {
      work = Math.max(work, 1 + item[FIRST_PAIR] - pair);
    }
    if (!PairMode.has(mode, PairMode.ADD) || PairMode.has(mode, PairMode.ACTIVATED)) {
      work = 1;
    }
    return work > 0;
  }

  /** Whether the item is the one that counts its pair's error. */
  static boolean counts(int[] item, int tid, int mode) {
    return PairMode.has(mode, PairMode.COUNT_ERRORS)
        && tid == 0
        && item[SITE] == PairSites.OUT_OF_RANGE
        && item[FIRST] == 0;
  }

  /** The column of the projection that is behind an output column. */
  static int source(int[] sizes, int column, int way, int mode) {
    return PairMode.source(mode, column, sizes[Sizes.COLUMNS], way);
  }

  /** Whether a slice has a column of the projection. */
  static boolean covers(int[] item, int column) {
    int in0 = Math.min(column - item[FIRST0], item[END0] - 1 - column);
    int in1 = Math.min(column - item[FIRST1], item[END1] - 1 - column);
    return Math.max(in0, in1) >= 0;
  }

  /** Passes over the tiles of ranks; none without a delta. */
  static int passes(int[] item) {
    return hasRanks(item) ? (item[TILES] + (1 << item[TILE_SHIFT]) - 1) >> item[TILE_SHIFT] : 0;
  }
}
