package io.github.moelora.tornado.kernels;

import io.github.moelora.spi.PlanFormat;
import io.github.moelora.tornado.layout.StepWords;
import uk.ac.manchester.tornado.api.KernelContext;
import uk.ac.manchester.tornado.api.types.arrays.IntArray;

/**
 * The plan of a step, made on the device: what {@link io.github.moelora.spi.HostPlanner} makes on
 * the host, array for array.
 *
 * <p>A pair's rank is how many pairs of its group, the (slot, expert), stand before it. Nothing
 * atomic orders them, so the plan is always the same. Two ways lead to the ranks of a chunk of
 * pairs:
 *
 * <ul>
 *   <li>Counted, of few groups: a thread looks for its pair's group in the {@link #PART} pairs that
 *       its pair is among; a table has the pairs of each part and group, and a thread adds up those
 *       of a group. Some ten barriers.
 *   <li>Sorted, of more: the chunk is sorted in local memory, as numbers {@code key << shift} plus
 *       the pair's place in the chunk, so that a rank is the distance from the first of the key, a
 *       binary search. Local memory does not grow with the groups, but there are 55 barriers.
 * </ul>
 *
 * <p>Up to one chunk of pairs, one work-group makes all of the plan. More take two launches, {@link
 * #countChunks} and {@link #placeChunks}, or, of groups too many to be counted in local memory,
 * three: {@link #sortChunks}, {@link #addChunks} and {@link #scatter}.
 *
 * <p>With blocks of one row the pairs with work stand first, in their order, unsorted: their keys
 * are 0, those of the others 1.
 *
 * <p>Parameters that kernels share: {@code step}, see {@link StepWords}; {@code adapterIds} int32
 * {@code [T]}; {@code expertMap} int32 {@code [E]}, read if the step says so; {@code expertIds}
 * int32 {@code [T, K]}; {@code errors} int32, a word for each work-group, to which it adds its
 * pairs with an id out of range; the plan as {@link PlanFormat} says; {@code maxPairs} of a step,
 * others are ignored; {@code countErrors} 1 to add to {@code errors}, else 0; {@code shift} of the
 * size of a chunk, {@code 1 << shift}; {@code threads} of a work-group.
 */
public final class PlanKernels {
  /** Pairs of a part, whose groups are counted together. */
  public static final int PART = 64;

  /** Numbers of a group in {@code groups}: its first block, and its pairs. */
  public static final int GROUP_WORDS = 2;

  /** Above all keys of pairs; sorts what fills a chunk to its end. */
  private static final int FILL = Integer.MAX_VALUE;

  /** Where in a number the pairs with an id out of range stand, above those that begin a block. */
  private static final int WRONG = 16;

  private static final int BLOCKS = (1 << WRONG) - 1;

  /** Counts that a thread has under way. */
  private static final int BATCH = 16;

  private PlanKernels() {}

  /**
   * Makes the plan of up to {@code 1 << shift} pairs. Grid: one work-group.
   *
   * @param counts out, {@link PlanFormat#COUNTS} numbers
   * @param sortedTokenIds out, int32 {@code [EM]}
   * @param blockExperts out, int32, an element per block
   * @param blockAdapters out, int32, an element per block
   */
  public static void sortFew(
      KernelContext ctx,
      IntArray step,
      IntArray adapterIds,
      IntArray expertMap,
      IntArray expertIds,
      IntArray errors,
      IntArray counts,
      IntArray sortedTokenIds,
      IntArray blockExperts,
      IntArray blockAdapters,
      int maxPairs,
      int countErrors,
      int blockSize,
      int shift,
      int threads) {
    int[] keys = ctx.allocateIntLocalArray(1 << shift);
    int[] ranks = ctx.allocateIntLocalArray(1 << shift);
    int[] blocks = ctx.allocateIntLocalArray(2 << shift);
    int tid = ctx.localIdx;
    int pairs = PairSites.pairs(step, maxPairs);
    int idle = idleKey(step, blockSize);
    int n = 2;
    while (n < pairs) {
      n <<= 1;
    }
    int wrong = 0;
    for (int i = tid; i < n; i += threads) {
      int key = FILL;
      if (i < pairs) {
        int site = PairSites.of(step, adapterIds, expertMap, expertIds, i);
        wrong += site == PairSites.OUT_OF_RANGE ? 1 : 0;
        key = (keyOf(site, idle, blockSize) << shift) + i;
      }
      keys[i] = key;
    }
    ctx.localBarrier();
    for (int width = 2; width <= n; width <<= 1) {
      for (int apart = width >> 1; apart > 0; apart >>= 1) {
        for (int i = tid; i < (n >> 1); i += threads) {
          int low = 2 * i - (i & (apart - 1));
          int a = keys[low];
          int b = keys[low + apart];
          boolean rising = (low & width) == 0;
          keys[low] = rising ? Math.min(a, b) : Math.max(a, b);
          keys[low + apart] = rising ? Math.max(a, b) : Math.min(a, b);
        }
        ctx.localBarrier();
      }
    }
    for (int i = tid; i < n; i += threads) {
      int bound = (keys[i] >> shift) << shift;
      int low = 0;
      int high = i;
      while (low < high) {
        int middle = (low + high) >> 1;
        if (keys[middle] < bound) {
          low = middle + 1;
        } else {
          high = middle;
        }
      }
      ranks[i] = i - low;
      // a pair begins a block where its rank is a multiple of the block size; above it goes what
      // the thread found wrong, to be added up with the blocks
      int begins = (i - low) % blockSize == 0 ? 1 : 0;
      blocks[i] = begins + (i == tid ? wrong << WRONG : 0);
    }
    ctx.localBarrier();
    int from = 0;
    for (int apart = 1; apart < n; apart <<= 1) {
      for (int i = tid; i < n; i += threads) {
        int sum = blocks[from + i];
        if (i >= apart) {
          sum += blocks[from + i - apart];
        }
        blocks[n - from + i] = sum;
      }
      from = n - from;
      ctx.localBarrier();
    }
    for (int i = tid; i < pairs; i += threads) {
      int key = keys[i] >> shift;
      int pair = keys[i] - (key << shift);
      int block = (blocks[from + i] & BLOCKS) - 1;
      int row = ranks[i] % blockSize;
      sortedTokenIds.set(block * blockSize + row, pair);
      if (row == 0) {
        int site = PairSites.of(step, adapterIds, expertMap, expertIds, pair);
        blockExperts.set(block, expertOf(step, site));
        blockAdapters.set(block, adapterOf(step, site));
      }
      int next = idle + 1;
      if (i + 1 < pairs) {
        next = keys[i + 1] >> shift;
      }
      if (next != key) {
        pad(sortedTokenIds, block * blockSize + row + 1, (block + 1) * blockSize, pairs);
        if (key < idle && next >= idle) {
          setActive(counts, block + 1, blockSize);
        }
      }
      if (i == 0 && key == idle) {
        setActive(counts, 0, blockSize);
      }
      if (i == pairs - 1) {
        counts.set(PlanFormat.ALL_BLOCKS, block + 1);
      }
    }
    if (tid == 0) {
      addErrors(errors, 0, countErrors * (blocks[from + n - 1] >> WRONG));
      if (pairs == 0) {
        setActive(counts, 0, blockSize);
        counts.set(PlanFormat.ALL_BLOCKS, 0);
      }
      setSizes(step, counts, pairs, blockSize);
    }
  }

  /**
   * Sorts each chunk of pairs by itself and counts its pairs of each group. Grid: a work-group per
   * chunk of the largest step.
   *
   * @param ranks out, int32 {@code [P]}: of each pair, those of its group before it in its chunk
   * @param chunkCounts out, int32 {@code [chunks, groups]}: pairs of each group, of these chunks
   * @param groups keys that there are, that of pairs without work, the last one, included
   */
  public static void sortChunks(
      KernelContext ctx,
      IntArray step,
      IntArray adapterIds,
      IntArray expertMap,
      IntArray expertIds,
      IntArray errors,
      IntArray ranks,
      IntArray chunkCounts,
      int maxPairs,
      int countErrors,
      int blockSize,
      int groups,
      int shift,
      int threads) {
    int[] keys = ctx.allocateIntLocalArray(1 << shift);
    int[] wrong = ctx.allocateIntLocalArray(threads);
    int tid = ctx.localIdx;
    int chunk = ctx.groupIdx;
    int n = 1 << shift;
    int first = chunk << shift;
    int pairs = PairSites.pairs(step, maxPairs);
    if (first < pairs) {
      int own = 0;
      for (int i = tid; i < n; i += threads) {
        int key = FILL;
        if (first + i < pairs) {
          int site = PairSites.of(step, adapterIds, expertMap, expertIds, first + i);
          own += site == PairSites.OUT_OF_RANGE ? 1 : 0;
          key = (keyOf(site, groups - 1, blockSize) << shift) + i;
        }
        keys[i] = key;
      }
      wrong[tid] = own;
      ctx.localBarrier();
      for (int half = threads >> 1; half > 0; half >>= 1) {
        if (tid < half) {
          wrong[tid] += wrong[tid + half];
        }
        ctx.localBarrier();
      }
      if (tid == 0) {
        addErrors(errors, chunk, countErrors * wrong[0]);
      }
      for (int width = 2; width <= n; width <<= 1) {
        for (int apart = width >> 1; apart > 0; apart >>= 1) {
          for (int i = tid; i < (n >> 1); i += threads) {
            int low = 2 * i - (i & (apart - 1));
            int a = keys[low];
            int b = keys[low + apart];
            boolean rising = (low & width) == 0;
            keys[low] = rising ? Math.min(a, b) : Math.max(a, b);
            keys[low + apart] = rising ? Math.max(a, b) : Math.min(a, b);
          }
          ctx.localBarrier();
        }
      }
      for (int i = tid; i < Math.min(n, pairs - first); i += threads) {
        int bound = (keys[i] >> shift) << shift;
        int low = 0;
        int high = i;
        while (low < high) {
          int middle = (low + high) >> 1;
          if (keys[middle] < bound) {
            low = middle + 1;
          } else {
            high = middle;
          }
        }
        ranks.set(first + keys[i] - bound, i - low);
      }
      for (int group = tid; group < groups; group += threads) {
        int begin = 0;
        int last = n;
        int bound = group << shift;
        while (begin < last) {
          int middle = (begin + last) >> 1;
          if (keys[middle] < bound) {
            begin = middle + 1;
          } else {
            last = middle;
          }
        }
        int end = begin;
        last = n;
        bound = (group + 1) << shift;
        while (end < last) {
          int middle = (end + last) >> 1;
          if (keys[middle] < bound) {
            end = middle + 1;
          } else {
            last = middle;
          }
        }
        chunkCounts.set(chunk * groups + group, end - begin);
      }
    }
  }

  /**
   * Replaces the counts of each chunk by those of the chunks before it, and says where the blocks
   * of each group begin. Grid: one work-group.
   *
   * @param chunkCounts in and out, int32 {@code [chunks, groups]}
   * @param groupBlocks out, int32 {@code [groups, 2]}: first block, and pairs
   * @param counts out, {@link PlanFormat#COUNTS} numbers
   */
  public static void addChunks(
      KernelContext ctx,
      IntArray step,
      IntArray chunkCounts,
      IntArray groupBlocks,
      IntArray counts,
      int maxPairs,
      int blockSize,
      int groups,
      int shift,
      int threads) {
    int[] blocks = ctx.allocateIntLocalArray(2 * threads);
    int tid = ctx.localIdx;
    int pairs = PairSites.pairs(step, maxPairs);
    int chunks = (pairs + (1 << shift) - 1) >> shift;
    int before = 0;
    for (int first = 0; first < groups; first += threads) {
      int group = first + tid;
      int total = 0;
      if (group < groups) {
        for (int chunk = 0; chunk < chunks; chunk += BATCH) {
          // all is read before any of it is stored, which would make each load wait for the last
          int[] read = new int[BATCH];
          for (int i = 0; i < BATCH; i++) {
            read[i] = chunkCounts.get(Math.min(chunk + i, chunks - 1) * groups + group);
          }
          for (int i = 0; i < BATCH; i++) {
            if (chunk + i < chunks) {
              chunkCounts.set((chunk + i) * groups + group, total);
              total += read[i];
            }
          }
        }
      }
      int own = (total + blockSize - 1) / blockSize;
      blocks[tid] = own;
      ctx.localBarrier();
      int from = 0;
      for (int apart = 1; apart < threads; apart <<= 1) {
        int sum = blocks[from + tid];
        if (tid >= apart) {
          sum += blocks[from + tid - apart];
        }
        blocks[threads - from + tid] = sum;
        from = threads - from;
        ctx.localBarrier();
      }
      int end = before + blocks[from + tid];
      if (group < groups) {
        groupBlocks.set(group * GROUP_WORDS, end - own);
        groupBlocks.set(group * GROUP_WORDS + 1, total);
        if (group == groups - 1) {
          setActive(counts, end - own, blockSize);
          counts.set(PlanFormat.ALL_BLOCKS, end);
        }
      }
      before += blocks[from + threads - 1];
      ctx.localBarrier();
    }
    if (tid == 0) {
      setSizes(step, counts, pairs, blockSize);
    }
  }

  /**
   * Makes the plan of up to {@code 1 << shift} pairs by counting. Grid: one work-group.
   *
   * @param counts out, {@link PlanFormat#COUNTS} numbers
   * @param sortedTokenIds out, int32 {@code [EM]}
   * @param blockExperts out, int32, an element per block
   * @param blockAdapters out, int32, an element per block
   * @param groups as {@link #sortChunks} says
   */
  public static void countFew(
      KernelContext ctx,
      IntArray step,
      IntArray adapterIds,
      IntArray expertMap,
      IntArray expertIds,
      IntArray errors,
      IntArray counts,
      IntArray sortedTokenIds,
      IntArray blockExperts,
      IntArray blockAdapters,
      int maxPairs,
      int countErrors,
      int blockSize,
      int groups,
      int shift,
      int threads) {
    int[] keys = ctx.allocateIntLocalArray(parts(shift) * PART);
    int[] ranks = ctx.allocateIntLocalArray(1 << shift);
    int[] table = ctx.allocateIntLocalArray(parts(shift) * groups);
    int[] totals = ctx.allocateIntLocalArray(groups);
    int[] starts = ctx.allocateIntLocalArray(groups);
    int[] sums = ctx.allocateIntLocalArray(2 * threads);
    int tid = ctx.localIdx;
    int pairs = PairSites.pairs(step, maxPairs);
    int wrong = 0;
    int filled = (pairs + PART - 1) & -PART;
    for (int i = tid; i < filled; i += threads) {
      int key = FILL;
      if (i < pairs) {
        int site = PairSites.of(step, adapterIds, expertMap, expertIds, i);
        wrong += site == PairSites.OUT_OF_RANGE ? 1 : 0;
        key = keyOf(site, groups - 1, blockSize);
      }
      keys[i] = key;
    }
    for (int i = tid; i < parts(shift) * groups; i += threads) {
      table[i] = 0;
    }
    ctx.localBarrier();
    for (int i = tid; i < pairs; i += threads) {
      int key = keys[i];
      int part = i & -PART;
      int low = 0;
      int high = 0;
      for (int j = 0; j < PART / 2; j++) {
        low |= keys[part + j] == key ? 1 << j : 0;
        high |= keys[part + PART / 2 + j] == key ? 1 << j : 0;
      }
      int before = before(low, high, i - part);
      ranks[i] = before;
      if (before == 0) {
        table[i / PART * groups + key] = Integer.bitCount(low) + Integer.bitCount(high);
      }
    }
    ctx.localBarrier();
    int blocks = 0;
    int found = 0;
    for (int first = 0; first < groups; first += threads) {
      int group = first + tid;
      int total = 0;
      if (group < groups) {
        for (int part = 0; part < parts(shift); part++) {
          int own = table[part * groups + group];
          table[part * groups + group] = total;
          total += own;
        }
        totals[group] = total;
      }
      // with the blocks, the pairs that a thread has found wrong are added up
      int own = ((total + blockSize - 1) / blockSize) + (first == 0 ? wrong << WRONG : 0);
      sums[tid] = own;
      ctx.localBarrier();
      int from = 0;
      for (int apart = 1; apart < threads; apart <<= 2) {
        int sum = sums[from + tid];
        for (int j = 1; j < 4; j++) {
          if (tid >= j * apart) {
            sum += sums[from + tid - j * apart];
          }
        }
        sums[threads - from + tid] = sum;
        from = threads - from;
        ctx.localBarrier();
      }
      if (group < groups) {
        starts[group] = blocks + ((sums[from + tid] - own) & BLOCKS);
      }
      found += sums[from + threads - 1] >> WRONG;
      blocks += sums[from + threads - 1] & BLOCKS;
      ctx.localBarrier();
    }
    for (int i = tid; i < pairs; i += threads) {
      int key = keys[i];
      int rank = table[i / PART * groups + key] + ranks[i];
      int site = PairSites.of(step, adapterIds, expertMap, expertIds, i);
      place(
          step, sortedTokenIds, blockExperts, blockAdapters, i, site, rank, starts[key], blockSize);
      if (rank == totals[key] - 1) {
        int end = starts[key] * blockSize + rank + 1;
        int blockEnd = (starts[key] + rank / blockSize + 1) * blockSize;
        pad(sortedTokenIds, end, blockEnd, pairs);
      }
    }
    if (tid == 0) {
      addErrors(errors, 0, countErrors * found);
      setActive(counts, starts[groups - 1], blockSize);
      counts.set(PlanFormat.ALL_BLOCKS, blocks);
      setSizes(step, counts, pairs, blockSize);
    }
  }

  /**
   * Counts each chunk of pairs by itself. Grid: a work-group per chunk of the largest step.
   *
   * @param ranks out, int32 {@code [P]}: {@code key << shift} of each pair, plus the rank that
   *     {@link #sortChunks} leaves
   * @param chunkCounts out, int32 {@code [chunks, groups]}: pairs of each group, of the chunks that
   *     hold pairs
   * @param groups as {@link #sortChunks} says
   */
  public static void countChunks(
      KernelContext ctx,
      IntArray step,
      IntArray adapterIds,
      IntArray expertMap,
      IntArray expertIds,
      IntArray errors,
      IntArray ranks,
      IntArray chunkCounts,
      int maxPairs,
      int countErrors,
      int blockSize,
      int groups,
      int shift,
      int threads) {
    int[] keys = ctx.allocateIntLocalArray(parts(shift) * PART);
    int[] inPart = ctx.allocateIntLocalArray(1 << shift);
    int[] table = ctx.allocateIntLocalArray(parts(shift) * groups);
    int[] wrong = ctx.allocateIntLocalArray(threads);
    int tid = ctx.localIdx;
    int chunk = ctx.groupIdx;
    int first = chunk << shift;
    int pairs = PairSites.pairs(step, maxPairs);
    int n = Math.min(1 << shift, pairs - first);
    if (n > 0) {
      int own = 0;
      int filled = (n + PART - 1) & -PART;
      for (int i = tid; i < filled; i += threads) {
        int key = FILL;
        if (i < n) {
          int site = PairSites.of(step, adapterIds, expertMap, expertIds, first + i);
          own += site == PairSites.OUT_OF_RANGE ? 1 : 0;
          key = keyOf(site, groups - 1, blockSize);
        }
        keys[i] = key;
      }
      wrong[tid] = own;
      for (int i = tid; i < parts(shift) * groups; i += threads) {
        table[i] = 0;
      }
      ctx.localBarrier();
      int left = threads;
      while (left > 1) {
        int quarter = (left + 3) >> 2;
        int end = tid < quarter ? left : 0;
        for (int other = tid + quarter; other < end; other += quarter) {
          wrong[tid] += wrong[other];
        }
        left = quarter;
        ctx.localBarrier();
      }
      if (tid == 0) {
        addErrors(errors, chunk, countErrors * wrong[0]);
      }
      for (int i = tid; i < n; i += threads) {
        int key = keys[i];
        int part = i & -PART;
        int low = 0;
        int high = 0;
        for (int j = 0; j < PART / 2; j++) {
          low |= keys[part + j] == key ? 1 << j : 0;
          high |= keys[part + PART / 2 + j] == key ? 1 << j : 0;
        }
        int before = before(low, high, i - part);
        inPart[i] = before;
        if (before == 0) {
          table[i / PART * groups + key] = Integer.bitCount(low) + Integer.bitCount(high);
        }
      }
      ctx.localBarrier();
      for (int group = tid; group < groups; group += threads) {
        int total = 0;
        for (int part = 0; part < parts(shift); part++) {
          int ofPart = table[part * groups + group];
          table[part * groups + group] = total;
          total += ofPart;
        }
        chunkCounts.set(chunk * groups + group, total);
      }
      ctx.localBarrier();
      for (int i = tid; i < n; i += threads) {
        int key = keys[i];
        ranks.set(first + i, (key << shift) + table[i / PART * groups + key] + inPart[i]);
      }
    }
  }

  /** How many bits stand below a place, of 64. */
  private static int before(int low, int high, int place) {
    int below = (1 << (place & 31)) - 1;
    return Integer.bitCount(low & (place < 32 ? below : -1))
        + Integer.bitCount(high & (place < 32 ? 0 : below));
  }

  /** Parts of a chunk. */
  private static int parts(int shift) {
    return ((1 << shift) + PART - 1) / PART;
  }

  /**
   * Brings each pair to its place after {@link #countChunks}. Every work-group finds for itself
   * where the groups begin, which costs less than a launch in between. Grid: a work-group per chunk
   * of the largest step.
   *
   * @param ranks in, int32 {@code [P]}, as {@link #countChunks} leaves them
   * @param chunkCounts in, int32 {@code [chunks, groups]}
   * @param counts out, {@link PlanFormat#COUNTS} numbers
   * @param sortedTokenIds out, int32 {@code [EM]}
   * @param blockExperts out, int32, an element per block
   * @param blockAdapters out, int32, an element per block
   * @param groups as {@link #sortChunks} says
   */
  public static void placeChunks(
      KernelContext ctx,
      IntArray step,
      IntArray adapterIds,
      IntArray expertMap,
      IntArray expertIds,
      IntArray ranks,
      IntArray chunkCounts,
      IntArray counts,
      IntArray sortedTokenIds,
      IntArray blockExperts,
      IntArray blockAdapters,
      int maxPairs,
      int blockSize,
      int groups,
      int shift,
      int threads) {
    int[] starts = ctx.allocateIntLocalArray(groups);
    int[] befores = ctx.allocateIntLocalArray(groups);
    int[] totals = ctx.allocateIntLocalArray(groups);
    int[] sums = ctx.allocateIntLocalArray(2 * threads);
    int tid = ctx.localIdx;
    int chunk = ctx.groupIdx;
    int pairs = PairSites.pairs(step, maxPairs);
    int chunks = (pairs + (1 << shift) - 1) >> shift;
    // the first one also says that there are no pairs
    if (chunk < Math.max(1, chunks)) {
      int firstPair = (chunk << shift) + tid;
      int next = ranks.get(Math.min(firstPair, maxPairs - 1));
      int blocks = 0;
      for (int first = 0; first < groups; first += threads) {
        int group = first + tid;
        int total = 0;
        if (group < groups) {
          int before = 0;
          for (int from = 0; from < chunks; from += BATCH) {
            int[] read = new int[BATCH];
            for (int i = 0; i < BATCH; i++) {
              read[i] = chunkCounts.get(Math.min(from + i, chunks - 1) * groups + group);
            }
            for (int i = 0; i < BATCH; i++) {
              total += from + i < chunks ? read[i] : 0;
              before += from + i < chunk ? read[i] : 0;
            }
          }
          befores[group] = before;
          totals[group] = total;
        }
        int own = (total + blockSize - 1) / blockSize;
        sums[tid] = own;
        ctx.localBarrier();
        int from = 0;
        for (int apart = 1; apart < threads; apart <<= 2) {
          int sum = sums[from + tid];
          for (int j = 1; j < 4; j++) {
            if (tid >= j * apart) {
              sum += sums[from + tid - j * apart];
            }
          }
          sums[threads - from + tid] = sum;
          from = threads - from;
          ctx.localBarrier();
        }
        if (group < groups) {
          starts[group] = blocks + sums[from + tid] - own;
        }
        blocks += sums[from + threads - 1];
        ctx.localBarrier();
      }
      int end = Math.min(pairs, (chunk + 1) << shift);
      for (int pair = firstPair; pair < end; pair += threads) {
        int ranked = next;
        next = ranks.get(Math.min(pair + threads, maxPairs - 1));
        int key = ranked >> shift;
        int rank = befores[key] + ranked - (key << shift);
        int site = key < groups - 1 ? key : PairSites.NONE;
        if (blockSize == 1) {
          site = PairSites.of(step, adapterIds, expertMap, expertIds, pair);
        }
        int start = starts[key];
        place(
            step, sortedTokenIds, blockExperts, blockAdapters, pair, site, rank, start, blockSize);
        if (rank == totals[key] - 1) {
          int blockEnd = (start + rank / blockSize + 1) * blockSize;
          pad(sortedTokenIds, start * blockSize + rank + 1, blockEnd, pairs);
        }
      }
      if (chunk == 0 && tid == 0) {
        setActive(counts, starts[groups - 1], blockSize);
        counts.set(PlanFormat.ALL_BLOCKS, blocks);
        setSizes(step, counts, pairs, blockSize);
      }
    }
  }

  /**
   * Brings each pair to its place after {@link #sortChunks}. Grid: a work-group per chunk of the
   * largest step.
   *
   * @param ranks in, int32 {@code [P]}, as {@link #sortChunks} leaves them
   * @param chunkCounts in, int32 {@code [chunks, groups]}, as {@link #addChunks} leaves them
   * @param groupBlocks in, int32 {@code [groups, 2]}
   */
  public static void scatter(
      KernelContext ctx,
      IntArray step,
      IntArray adapterIds,
      IntArray expertMap,
      IntArray expertIds,
      IntArray ranks,
      IntArray chunkCounts,
      IntArray groupBlocks,
      IntArray sortedTokenIds,
      IntArray blockExperts,
      IntArray blockAdapters,
      int maxPairs,
      int blockSize,
      int groups,
      int shift,
      int threads) {
    int tid = ctx.localIdx;
    int chunk = ctx.groupIdx;
    int pairs = PairSites.pairs(step, maxPairs);
    int end = Math.min(pairs, (chunk + 1) << shift);
    for (int pair = (chunk << shift) + tid; pair < end; pair += threads) {
      int inChunk = ranks.get(pair);
      int site = PairSites.of(step, adapterIds, expertMap, expertIds, pair);
      int key = keyOf(site, groups - 1, blockSize);
      int rank = chunkCounts.get(chunk * groups + key) + inChunk;
      int start = groupBlocks.get(key * GROUP_WORDS);
      place(step, sortedTokenIds, blockExperts, blockAdapters, pair, site, rank, start, blockSize);
      if (rank == groupBlocks.get(key * GROUP_WORDS + 1) - 1) {
        int blockEnd = (start + rank / blockSize + 1) * blockSize;
        pad(sortedTokenIds, start * blockSize + rank + 1, blockEnd, pairs);
      }
    }
  }

  /**
   * Puts a pair into its group's blocks, and says whose a block is that it begins.
   *
   * @param start first block of the group
   */
  private static void place(
      IntArray step,
      IntArray sortedTokenIds,
      IntArray blockExperts,
      IntArray blockAdapters,
      int pair,
      int site,
      int rank,
      int start,
      int blockSize) {
    sortedTokenIds.set(start * blockSize + rank, pair);
    if (rank % blockSize == 0) {
      int block = start + rank / blockSize;
      blockExperts.set(block, expertOf(step, site));
      blockAdapters.set(block, adapterOf(step, site));
    }
  }

  /** The key of pairs without work: above those of all groups. */
  private static int idleKey(IntArray step, int blockSize) {
    int idle = 1;
    if (blockSize > 1) {
      idle = step.get(StepWords.SLOTS) * step.get(StepWords.LOCAL_EXPERTS);
    }
    return idle;
  }

  /** Adds to a word that no other work-group touches. */
  static void addErrors(IntArray errors, int group, int count) {
    if (count > 0) {
      errors.set(group, errors.get(group) + count);
    }
  }

  /** By what a pair is sorted. */
  private static int keyOf(int site, int idle, int blockSize) {
    int key = idle;
    if (site >= 0) {
      key = blockSize > 1 ? site : 0;
    }
    return key;
  }

  private static int adapterOf(IntArray step, int site) {
    int adapter = PlanFormat.NO_WORK;
    if (site >= 0) {
      adapter = site / step.get(StepWords.LOCAL_EXPERTS);
    }
    return adapter;
  }

  private static int expertOf(IntArray step, int site) {
    int expert = PlanFormat.NO_WORK;
    if (site >= 0) {
      expert = site % step.get(StepWords.LOCAL_EXPERTS);
    }
    return expert;
  }

  /** Fills a block up with what is no pair. */
  private static void pad(IntArray sortedTokenIds, int from, int end, int pairs) {
    for (int i = from; i < end; i++) {
      sortedTokenIds.set(i, pairs);
    }
  }

  private static void setActive(IntArray counts, int blocks, int blockSize) {
    counts.set(PlanFormat.ACTIVE_BLOCKS, blocks);
    counts.set(PlanFormat.NUM_TOKENS_POST_PADDED, blocks * blockSize);
  }

  private static void setSizes(IntArray step, IntArray counts, int pairs, int blockSize) {
    counts.set(PlanFormat.PAIRS, pairs);
    counts.set(PlanFormat.TOKENS, pairs / step.get(StepWords.EXPERTS_PER_TOKEN));
    counts.set(PlanFormat.BLOCK_SIZE, blockSize);
  }
}
