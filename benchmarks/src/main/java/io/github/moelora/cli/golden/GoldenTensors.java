package io.github.moelora.cli.golden;

import io.github.moelora.DType;
import io.github.moelora.Matrix;
import io.github.moelora.safetensors.SafeTensorsFile;
import io.github.moelora.safetensors.SafeTensorsFile.Tensor;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.file.Path;
import java.util.List;

/** Tensors of a golden file by name. */
final class GoldenTensors implements AutoCloseable {
  private final SafeTensorsFile file;

  private GoldenTensors(SafeTensorsFile file) {
    this.file = file;
  }

  static GoldenTensors open(Path path) throws IOException {
    return new GoldenTensors(SafeTensorsFile.open(path));
  }

  boolean has(String name) {
    return file.tensors().containsKey(name);
  }

  Tensor get(String name) {
    Tensor tensor = file.tensors().get(name);
    if (tensor == null) {
      throw new IllegalArgumentException("%s must hold the tensor %s".formatted(file.path(), name));
    }
    return tensor;
  }

  /** Size of a dimension. */
  int size(String name, int dimension) {
    List<Long> shape = get(name).shape();
    if (dimension >= shape.size()) {
      throw new IllegalArgumentException(
          "%s: tensor %s must have more than %d dimensions, got %s"
              .formatted(file.path(), name, dimension, shape));
    }
    return Math.toIntExact(shape.get(dimension));
  }

  /** A tensor as rows of its last dimension. */
  Matrix matrix(String name) {
    Tensor tensor = get(name);
    DType type = DType.valueOf(tensor.dtype());
    int columns = Math.toIntExact(tensor.shape().getLast());
    int rows =
        columns == 0 ? 0 : Math.toIntExact(tensor.data().byteSize() / type.bytes() / columns);
    return Matrix.of(tensor.data(), type, rows, columns);
  }

  int[] ints(String name) {
    return typed(name, "I32").toArray(ValueLayout.JAVA_INT_UNALIGNED);
  }

  float[] floats(String name) {
    return typed(name, "F32").toArray(ValueLayout.JAVA_FLOAT_UNALIGNED);
  }

  double[] doubles(String name) {
    return typed(name, "F64").toArray(ValueLayout.JAVA_DOUBLE_UNALIGNED);
  }

  private MemorySegment typed(String name, String dtype) {
    Tensor tensor = get(name);
    if (!tensor.dtype().equals(dtype)) {
      throw new IllegalArgumentException(
          "%s: tensor %s must be %s, got %s".formatted(file.path(), name, dtype, tensor.dtype()));
    }
    return tensor.data();
  }

  @Override
  public void close() {
    file.close();
  }
}
