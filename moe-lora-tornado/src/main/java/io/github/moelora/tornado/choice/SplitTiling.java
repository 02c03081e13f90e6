package io.github.moelora.tornado.choice;

import io.github.moelora.DType;
import io.github.moelora.MoeLoraConfig;
import io.github.moelora.Projection;
import io.github.moelora.tornado.kernels.MmaExpand;
import io.github.moelora.tornado.layout.PackedLayout;
import io.github.moelora.tornado.layout.SliceTable;
import java.util.List;

/**
 * How MmaShrink and MmaExpand, two launches, cut a projection's work.
 *
 * @param rowWarps rows of warps of a shrink work-group
 * @param rankWarps warps of a shrink work-group that share its rows: 1, 2 or 4
 * @param stepWarps shares of the steps of a stage of shrink that warps have: 1, 2 or 4; 1 with two
 *     row tiles
 * @param rowTiles row tiles of a warp of shrink, 1 or 2
 * @param rankTiles rank tiles of a warp of shrink, 1, 2, 4 or 8
 * @param steps tiles of 16 elements of H in a stage of shrink, 2 or 4
 * @param shrinkGroups work-groups of shrink
 * @param targetItems items that shrink cuts H for when there are fewer blocks
 * @param expandRows rows of an item of expand: 16, 32 or 64, at most those of a block
 * @param chunk columns of a chunk of expand, a power of two from 32 on
 * @param expandItems work-groups of expand that the device holds at once; fewer items are cut
 * @param expandGroups work-groups of expand
 */
public record SplitTiling(
    int rowWarps,
    int rankWarps,
    int stepWarps,
    int rowTiles,
    int rankTiles,
    int steps,
    int shrinkGroups,
    int targetItems,
    int expandRows,
    int chunk,
    int expandItems,
    int expandGroups)
    implements Tiling {

  /**
   * Largest rank that expand takes: of a chunk of 32 columns a thread then copies {@link
   * MmaExpand#MAX_LONGS} longs of B, and z of 16 rows in two halves takes 16 of the 47 KiB of local
   * memory, beside 16 KiB of B.
   */
  public static final int RANK_LIMIT = 256;

  /** Local memory that TornadoVM gives to a work-group, less what TornadoVM itself may need. */
  private static final int LOCAL_BYTES = 47 << 10;

  /** Most columns of a chunk for each warp of expand. */
  private static final int WARP_COLUMNS = 64;

  /** Most columns of a projection whose chunks are small. */
  private static final int SHORT_ROW = 4096;

  /** Work-groups of expand that the registers of a multiprocessor hold. */
  private static final int RESIDENT = 4;

  /** Fewest columns of a slice that are written in long runs. */
  private static final int WIDE_SLICE = 2048;

  /** Blocks of 16 rows: many small items. */
  public static SplitTiling small(MoeLoraConfig config, Projection projection) {
    return of(config, projection, 16);
  }

  /** Blocks of 32 rows, or of 16 where local memory holds no more ranks of z. */
  public static SplitTiling large(MoeLoraConfig config, Projection projection) {
    return of(config, projection, mostExpandRows(config));
  }

  /** Blocks of 64 rows, which read the weights least often: for many pairs of each group. */
  static SplitTiling largest(MoeLoraConfig config, Projection projection) {
    int stack = stack(config, projection);
    // up to 32 ranks a warp takes all of them for 16 rows, beyond that half of 128 for 32 rows
    boolean shared = stack > 32;
    int tiles = PackedLayout.rankTiles(stack);
    int rankTiles = tiles > 8 ? 8 : tiles > 2 ? 4 : 2;
    int expandRows = largestExpandRows(config, projection);
    return new SplitTiling(
        shared ? 2 : 4,
        shared ? 2 : 1,
        1,
        shared ? 2 : 1,
        rankTiles,
        stack > 64 ? 2 : 4,
        8 * MULTIPROCESSORS,
        2 * MULTIPROCESSORS,
        expandRows,
        chunk(config, expandRows, 256),
        RESIDENT * MULTIPROCESSORS,
        32 * MULTIPROCESSORS);
  }

  /** The tilings, by ascending rows. */
  public static List<SplitTiling> all(MoeLoraConfig config, Projection projection) {
    SplitTiling small = small(config, projection);
    SplitTiling large = large(config, projection);
    SplitTiling largest = largest(config, projection);
    return large.rows() > small.rows() ? List.of(small, large, largest) : List.of(small, largest);
  }

  /** Most rows of an item of expand that local memory holds: 32 or 16. */
  private static int mostExpandRows(MoeLoraConfig config) {
    return expandBytes(config, 32, 32) > LOCAL_BYTES ? 16 : 32;
  }

  /** Rows of an item of expand for blocks of 64 rows. */
  private static int largestExpandRows(MoeLoraConfig config, Projection projection) {
    if (cheapB(config)) {
      int sliceWidth = config.model().outputWidth(projection) / slices(config, projection);
      return sliceWidth >= WIDE_SLICE ? 16 : mostExpandRows(config);
    }
    boolean fits = expandBytes(config, 64, 64) <= LOCAL_BYTES;
    return config.weightType() == DType.BF16 && fits ? 64 : mostExpandRows(config);
  }

  /** Whether items of few rows, which read B more often, cost less than they gain. */
  private static boolean cheapB(MoeLoraConfig config) {
    return config.maxRank() <= 16 && config.weightType() == DType.BF16;
  }

  private static SplitTiling of(MoeLoraConfig config, Projection projection, int rows) {
    // warps that take all ranks of their rows read x from local memory once
    int rankWarps = rankWarps(config, projection);
    int rowTiles = rankWarps == 4 && rows > 16 ? 2 : 1;
    int rowWarps = rows / 16 / rowTiles;
    boolean shortRows = shortRows(config, projection);
    // half the registers for sums leave room for one work-group more on a multiprocessor
    int expandRows = shortRows && cheapB(config) ? 16 : rows;
    return new SplitTiling(
        rowWarps,
        rankWarps,
        Math.max(1, 4 / (rowWarps * rankWarps)),
        rowTiles,
        4,
        4,
        8 * MULTIPROCESSORS,
        shrinkItems(rows, rankWarps) * MULTIPROCESSORS,
        expandRows,
        chunk(config, expandRows, shortRows ? 128 : 256),
        RESIDENT * MULTIPROCESSORS,
        8 * MULTIPROCESSORS);
  }

  /** Items of shrink for each multiprocessor: more parts of H cost expand more sums. */
  private static int shrinkItems(int rows, int rankWarps) {
    if (rows > 16) {
      return 2;
    }
    return rankWarps == 1 ? 6 : 4;
  }

  /** Whether rows of y are short. */
  private static boolean shortRows(MoeLoraConfig config, Projection projection) {
    return config.model().outputWidth(projection) <= SHORT_ROW;
  }

  /** Warps of 32 ranks that all ranks of a site take, or as many as a work-group has for them. */
  private static int rankWarps(MoeLoraConfig config, Projection projection) {
    int stack = stack(config, projection);
    return stack > 64 ? 4 : stack > 32 ? 2 : 1;
  }

  /** Most ranks of A of a site, all slices. */
  private static int stack(MoeLoraConfig config, Projection projection) {
    return slices(config, projection) * config.maxRank();
  }

  private static int slices(MoeLoraConfig config, Projection projection) {
    return projection == Projection.GATE_UP && config.model().gateUp().gated() ? 2 : 1;
  }

  /**
   * The largest chunk whose columns local memory and the registers of a copy hold.
   *
   * @param most columns
   */
  private static int chunk(MoeLoraConfig config, int rows, int most) {
    int chunk = Math.min(WARP_COLUMNS * 64 / rows, most);
    while (chunk > 32
        && (expandBytes(config, rows, chunk) > LOCAL_BYTES
            || expandLongs(config, chunk) > MmaExpand.MAX_LONGS)) {
      chunk /= 2;
    }
    return chunk;
  }

  /** Local memory of an expand work-group: a chunk of B, z in two halves, sums, row data. */
  private static int expandBytes(MoeLoraConfig config, int rows, int chunk) {
    int ranks = 16 * rankSteps(config.maxRank());
    return 2 * chunk * ranks
        + 4 * rows * ranks
        + 4 * rows * MmaExpand.sumsStride(chunk)
        + 16
        + 12 * rows;
  }

  /** Longs of a chunk of B that a thread copies. */
  private static int expandLongs(MoeLoraConfig config, int chunk) {
    return chunk * 16 * rankSteps(config.maxRank()) / (PackedLayout.LONG * MmaExpand.THREADS);
  }

  private static int rankSteps(int rank) {
    return (rank + 15) / 16;
  }

  @Override
  public int rows() {
    return 16 * rowWarps * rowTiles;
  }

  /** Stages of shrink that H takes. */
  public int stages(int inputWidth) {
    return (inputWidth + 16 * steps - 1) / (16 * steps);
  }

  /** Ranks of an item of shrink. */
  public int itemRanks() {
    return 8 * rankTiles * rankWarps;
  }

  /** Threads of a shrink work-group. */
  public int shrinkThreads() {
    return 32 * rowWarps * rankWarps * stepWarps;
  }

  /** Most steps of 16 ranks that expand makes. */
  public int rankSteps(MoeLoraConfig config) {
    return rankSteps(config.maxRank());
  }

  /** Floats of a row of z: what the largest stack takes in whole items. */
  public int zStride(MoeLoraConfig config) {
    int stack = SliceTable.maxStack(config);
    return (stack + itemRanks() - 1) / itemRanks() * itemRanks();
  }

  @Override
  public int zElements(MoeLoraConfig config, int blocks) {
    return Math.multiplyExact(
        Math.multiplyExact(Math.max(blocks, targetItems), rows()), zStride(config));
  }

  /** Chunks of columns that a slice of a projection makes at most. */
  public int chunks(int outputWidth) {
    return (outputWidth + chunk - 1) / chunk;
  }
}
