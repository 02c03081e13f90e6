package io.github.moelora.bench.gpu;

import io.github.moelora.tornado.tune.CapturedTimer;
import io.github.moelora.workload.Batch;
import io.github.moelora.workload.Workload;
import java.util.List;

/** Kernels of one shape and rank on the device, to be measured on batches. */
sealed interface BenchSubject extends AutoCloseable permits BenchKernels, BenchLoops {

  /**
   * Time of one block size.
   *
   * @param blockSize rows of a block
   * @param time of shrink and expand
   * @param worstError largest error of a checked element, as a share of what it may be
   */
  record Result(int blockSize, CapturedTimer.Time time, double worstError) {}

  BenchShape shape();

  /** Sizes and types on the device. */
  Workload.Sizes sizes();

  Batch batch(int tokens);

  /** Rows of a block that the backend takes for a batch. */
  int chosenBlockSize(Batch batch);

  /** Times every block size that suits a batch, each after a check of its result. */
  List<Result> measure(Batch batch);

  @Override
  void close();
}
