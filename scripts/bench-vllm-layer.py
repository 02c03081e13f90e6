#!/usr/bin/env python3
"""Measures vLLM's LoRA part of whole MoE layers, for scripts/bench-gpu --layer: alignment, gate/up and down in one CUDA graph.

    scripts/bench-vllm-layer.py FOLDER [--layers NAME ...] [--types T ...] [--ranks R ...] [--tokens T ...] [--variants] [--jobs N] [--warm]
                                [--seconds S]

FOLDER is a vLLM checkout, or holds the two files of it that are needed: fused_moe_lora_op.py and moe_align_sum_kernels.cu. vLLM itself is
not installed: the kernels that sort pairs into blocks are taken out of the second file when this runs, built by nvcc, and launched with
the grids that vLLM gives them. Needs PyTorch, Triton and nvcc.

--variants adds what stands behind both projections: silu_and_mul, whose result down reads, and moe_sum, which is PyTorch's sum over the
experts of a token where vLLM has no kernel for their number. It needs activation_kernels.cu and cuda_vec_utils.cuh, too.

Prints JSON lines: first the device, then for each cell the GPU microseconds of the layer on each path ("naive" takes unsorted pairs
and has no alignment, "sortedN" blocks of N rows), the parts of the fastest, and the error of the worst result. The blocks that the
alignment makes are compared with those made on the host before anything is timed. As for bench-vllm.py, the time is that of the replay
of a CUDA graph of several layers, divided by their number; the median of the replays counts. --jobs and --warm are bench-vllm.py's.
"""
import argparse
import concurrent.futures
import ctypes
import hashlib
import importlib.util
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass

import torch


def sibling(name):
    """Loads the program of that name beside this one as a module."""
    spec = importlib.util.spec_from_file_location(name.replace("-", "_"), pathlib.Path(__file__).with_name(name + ".py"))
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


kernels = sibling("bench-vllm")

OPERATOR = ("vllm/lora/ops/triton_ops/fused_moe_lora_op.py", "fused_moe_lora_op.py")
ALIGNMENT = ("csrc/libtorch_stable/moe/moe_align_sum_kernels.cu", "csrc/moe/moe_align_sum_kernels.cu", "moe_align_sum_kernels.cu")
ACTIVATION = ("csrc/libtorch_stable/activation_kernels.cu", "csrc/activation_kernels.cu", "activation_kernels.cu")
VECTORS = ("csrc/libtorch_stable/cuda_vec_utils.cuh", "csrc/cuda_vec_utils.cuh", "cuda_vec_utils.cuh")
WARP = 32
WIDEST_SCAN = 1024
SMALL_PAIRS, SMALL_EXPERTS, SMALL_THREADS, FILL_THREADS = 1024, 64, 128, 256
SORT_THREADS = 256

LAYERS = {
    "qwen3_30b": (kernels.SHAPES["qwen3_30b_w13"], kernels.SHAPES["qwen3_30b_w2"]),
    "qwen3moe64": (kernels.SHAPES["qwen3moe64"], kernels.Shape(1408, 2048, 64, 8, 4, 1, True)),
    "mixtral": (kernels.SHAPES["mixtral"], kernels.Shape(7168, 4096, 8, 2, 4, 1, True)),
}

# arguments of both paths; the grids are those of vLLM's moe_lora_align_block_size
LAUNCHER = """
struct Sort {
  int *experts, *owners, *sorted, *block_experts, *lengths, *enabled, *sums, *active, *mask;
  long long block, pairs;
  int expert_count, adapter_count, capacity, block_capacity, per_token;
};

extern "C" int sort_pairs(const Sort* s, cudaStream_t stream) {
  using namespace vllm::moe;
  const int lists = s->adapter_count + 1;
  if (s->pairs < SMALL_PAIRS && s->expert_count <= SMALL_EXPERTS) {
    const int threads = s->expert_count > SMALL_THREADS ? s->expert_count : SMALL_THREADS;
    const int bytes = 4 * ((threads + 2) * s->expert_count + 1);
    auto* small = &moe_lora_align_block_size_small_batch_expert_kernel<int32_t, FILL_THREADS>;
    cudaFuncSetAttribute((const void*)small, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
    small<<<lists, threads + FILL_THREADS, bytes, stream>>>(
        s->experts, s->owners, s->block, nullptr, s->expert_count, s->adapter_count, s->pairs, s->capacity, s->block_capacity, s->sorted,
        s->block_experts, s->per_token, s->lengths, s->enabled, s->active, s->mask, false);
    return cudaGetLastError();
  }
  const int rounded = (s->expert_count + WARP_SIZE - 1) / WARP_SIZE * WARP_SIZE;
  cudaMemsetAsync(s->sums, 0, sizeof(int) * s->adapter_count * (s->expert_count + 1), stream);
  moe_lora_align_block_size_kernel<int32_t><<<2 * lists, WIDEST_SCAN, 4 * rounded, stream>>>(
      s->experts, s->owners, s->block, nullptr, s->expert_count, s->adapter_count, s->pairs, s->capacity, s->block_capacity, s->sorted,
      s->block_experts, s->per_token, s->lengths, s->enabled, s->sums, WARP_SIZE, rounded, s->active, s->mask, false);
  const dim3 grid(lists, (unsigned)((s->pairs + SORT_THREADS - 1) / SORT_THREADS));
  lora_count_and_sort_expert_tokens_kernel<int32_t><<<grid, SORT_THREADS, 0, stream>>>(
      s->experts, s->sorted, s->sums, nullptr, s->pairs, s->expert_count, s->capacity, s->per_token, s->mask, s->adapter_count, s->active,
      s->enabled, false);
  return cudaGetLastError();
}
"""

# arguments and grids of vLLM's silu_and_mul and moe_sum
FINISHER = """
template <typename T>
static int activate(void* to, const void* from, long long pairs, int width, cudaStream_t stream) {
  using Two = typename vllm::PackedTypeConverter<T>::Type;
  const int each = vllm::VecTraits<false>::ARCH_MAX_VEC_SIZE / (int)sizeof(T);
  if (width % each != 0) return cudaErrorInvalidValue;
  const int threads = width / each < 1024 ? width / each : 1024;
  vllm::act_and_mul_kernel<T, Two, vllm::silu_kernel<T>, vllm::packed_silu_kernel<Two>, true, true, false>
      <<<(unsigned)pairs, threads, 0, stream>>>((T*)to, (const T*)from, width, 0.0f);
  return cudaGetLastError();
}

template <typename T, int K>
static int sum(void* to, const void* from, long long tokens, int width, cudaStream_t stream) {
  vllm::moe::moe_sum_kernel<T, K><<<(unsigned)tokens, width < 1024 ? width : 1024, 0, stream>>>((T*)to, (const T*)from, width);
  return cudaGetLastError();
}

template <typename T>
static int sum(void* to, const void* from, long long tokens, int per_token, int width, cudaStream_t stream) {
  if (per_token == 2) return sum<T, 2>(to, from, tokens, width, stream);
  if (per_token == 3) return sum<T, 3>(to, from, tokens, width, stream);
  if (per_token == 4) return sum<T, 4>(to, from, tokens, width, stream);
  return cudaErrorInvalidValue;
}

extern "C" int silu_and_mul(int bf16, void* to, const void* from, long long pairs, int width, cudaStream_t stream) {
  return bf16 ? activate<__nv_bfloat16>(to, from, pairs, width, stream) : activate<__half>(to, from, pairs, width, stream);
}

extern "C" int moe_sum(int bf16, void* to, const void* from, long long tokens, int per_token, int width, cudaStream_t stream) {
  return bf16 ? sum<__nv_bfloat16>(to, from, tokens, per_token, width, stream) : sum<__half>(to, from, tokens, per_token, width, stream);
}
"""

# numbers of experts of a token for which vLLM's moe_sum has a kernel
SUMMED = (2, 3, 4)


class Sort(ctypes.Structure):
    """The launcher's arguments: device addresses, then sizes."""

    ADDRESSES = ("experts", "owners", "sorted", "block_experts", "lengths", "enabled", "sums", "active", "mask")
    _fields_ = (
        [(name, ctypes.c_void_p) for name in ADDRESSES]
        + [(name, ctypes.c_longlong) for name in ("block", "pairs")]
        + [(name, ctypes.c_int) for name in ("expert_count", "adapter_count", "capacity", "block_capacity", "per_token")]
    )


def find(folder, names):
    """The first of those files that the folder has."""
    for name in names:
        if (folder / name).is_file():
            return folder / name
    sys.exit(f"{folder} must hold one of {', '.join(names)}")


def alignment_source(text):
    """CUDA source with vLLM's alignment kernels, cut out of the text of its file, and the launcher."""
    start = text.find("#define CEILDIV")
    closing = re.search(r"^}\s*// namespace vllm\s*$", text, re.MULTILINE)
    if start < 0 or closing is None:
        sys.exit("the alignment file has no kernels between CEILDIV and the end of namespace vllm")
    constants = "".join(
        f"static constexpr int {name} = {globals()[name]};\n"
        for name in ("WIDEST_SCAN", "SMALL_PAIRS", "SMALL_EXPERTS", "SMALL_THREADS", "FILL_THREADS", "SORT_THREADS")
    )
    includes = "#include <cstdint>\n#include <cub/block/block_scan.cuh>\n#include <cuda_runtime.h>\n"
    macros = f"#define WARP_SIZE {WARP}\n#define VLLM_LDG(address) __ldg(address)\n"
    return includes + macros + text[start : closing.end()] + "\n" + constants + LAUNCHER


def finish_source(activation, vectors):
    """CUDA source with vLLM's activation kernels, cut out of the texts of both files."""
    opening = re.search(r"^namespace vllm {$", activation, re.MULTILINE)
    closing = re.search(r"^}\s*// namespace vllm\s*$", activation, re.MULTILINE)
    if opening is None or closing is None:
        sys.exit("the activation file has no namespace vllm")
    utilities = re.sub(r"^\s*#(include <torch/.*|include \".*|pragma once)$", "", vectors, flags=re.MULTILINE)
    # the utilities name PyTorch's types, and need no more of them
    types = "#include <cmath>\n#include <cstdint>\n#include <type_traits>\nnamespace c10 {\nstruct Half;\nstruct BFloat16;\n}\n"
    return types + utilities + activation[opening.start() : closing.end()] + "\n"


def build(source):
    """Builds CUDA source as a library, or takes what an earlier run has built of it."""
    nvcc = shutil.which("nvcc") or "/usr/local/cuda/bin/nvcc"
    if not pathlib.Path(nvcc).exists():
        sys.exit("nvcc must be on the path or in /usr/local/cuda/bin: vLLM's kernels have to be built")
    major, minor = torch.cuda.get_device_capability()
    architecture = f"sm_{major}{minor}"
    key = hashlib.sha256((architecture + source).encode()).hexdigest()[:32]
    built = pathlib.Path(tempfile.gettempdir(), f"bench-vllm-{os.getuid()}", key + ".so")
    if not built.exists():
        built.parent.mkdir(mode=0o700, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=built.parent) as folder:
            text, library = pathlib.Path(folder, "kernels.cu"), pathlib.Path(folder, "kernels.so")
            text.write_text(source)
            flags = ["-O3", "-std=c++17", f"-arch={architecture}", "-shared", "-Xcompiler", "-fPIC", "-diag-suppress", "177"]
            subprocess.run([nvcc, *flags, "-o", library, text], check=True)
            library.rename(built)
    return ctypes.CDLL(str(built))


class Kernels:
    """vLLM's kernels beside its operator: sorting, and with variants activation and sum."""

    def __init__(self, folder, variants):
        source = alignment_source(find(folder, ALIGNMENT).read_text())
        if variants:
            source = finish_source(find(folder, ACTIVATION).read_text(), find(folder, VECTORS).read_text()) + source + FINISHER
        library = build(source)
        self.variants = variants
        self.sort = library.sort_pairs
        self.sort.argtypes = [ctypes.POINTER(Sort), ctypes.c_void_p]
        if variants:
            address, number, length = ctypes.c_void_p, ctypes.c_int, ctypes.c_longlong
            self.silu_and_mul = library.silu_and_mul
            self.silu_and_mul.argtypes = [number, address, address, length, number, address]
            self.moe_sum = library.moe_sum
            self.moe_sum.argtypes = [number, address, address, length, number, number, address]

    def activate(self, gate_up, active):
        """Each row of gate and up becomes a row of active."""
        pairs, width = active.shape
        require(self.silu_and_mul(is_bf16(active), active.data_ptr(), gate_up.data_ptr(), pairs, width, stream()), "silu_and_mul")

    def add_up(self, down, total):
        """The rows of a token's experts become one."""
        tokens, per_token, width = down.shape
        if per_token not in SUMMED:
            torch.sum(down, dim=1, out=total)
            return
        require(self.moe_sum(is_bf16(total), total.data_ptr(), down.data_ptr(), tokens, per_token, width, stream()), "moe_sum")


def is_bf16(tensor):
    return int(tensor.dtype == torch.bfloat16)


def stream():
    return torch.cuda.current_stream().cuda_stream


def require(code, what):
    if code:
        sys.exit(f"vLLM's {what} could not be launched: CUDA error {code}")


class Blocks:
    """Memory of the sorted lists for one block size, filled by vLLM's kernels."""

    def __init__(self, launch, batch, block):
        shape = batch.shape
        pairs = batch.expert_ids.numel()
        most = pairs + shape.experts * (block - 1)
        if pairs < shape.experts:
            most = min(most, pairs * block)
        capacity = -(-most // block) * block

        def integers(*size, value=0):
            return torch.full(size, value, dtype=torch.int32, device="cuda")

        self.launch = launch
        self.sorted = integers(shape.adapters, capacity)
        self.experts = integers(shape.adapters, capacity // block, value=-1)
        self.lengths = integers(shape.adapters)
        # held so that the memory stays
        self.others = {
            "experts": batch.unsorted_experts,
            "owners": batch.token_adapters,
            "enabled": batch.enabled,
            "sums": integers(shape.adapters * (shape.experts + 1)),
            "active": batch.active_adapters,
            "mask": integers(shape.adapters * batch.tokens),
        }
        arrays = self.others | {"sorted": self.sorted, "block_experts": self.experts, "lengths": self.lengths}
        addresses = [arrays[name].data_ptr() for name in Sort.ADDRESSES]
        self.arguments = Sort(*addresses, block, pairs, shape.experts, shape.adapters, capacity, capacity // block, shape.per_token)

    def fill(self):
        require(self.launch(ctypes.byref(self.arguments), stream()), "alignment")

    def routing(self):
        return self.sorted, self.experts, self.lengths

    def require(self, expected, block):
        """Stops unless the lists are the host's, whatever the order of an expert's pairs."""
        torch.cuda.synchronize()
        right = torch.equal(self.lengths, expected[2])
        for adapter, length in enumerate(expected[2].tolist()):
            keys = []
            for tokens, experts, _ in (self.routing(), expected):
                owners = experts[adapter, : length // block].long().repeat_interleave(block)
                keys.append((owners << 32 | tokens[adapter, :length].long()).sort().values)
            right = right and torch.equal(*keys)
        if not right:
            sys.exit(f"vLLM's alignment differs from the host's for blocks of {block}")


@dataclass
class Layer:
    """Both projections of a batch, ready to be called."""

    operator: object
    batches: tuple
    weights: tuple
    rank: int

    def project(self, down, block, routing, y, x=None):
        batch, weights = self.batches[down], self.weights[down]
        # rows, columns, depth, groups, warps, stages, split of the depth
        tile = (block or 16, 64, 32, 8, 4, 3, 1)
        self.operator(
            y,
            batch.x if x is None else x,
            weights.a,
            weights.b,
            batch.routing_weights,
            *routing,
            batch.token_adapters,
            self.rank,
            batch.shape.per_token,
            batch.active_adapters,
            batch.active_count,
            batch.enabled,
            *tile,
            *tile,
            bool(down),
            False,
            0,
        )

    def error(self, block, routing):
        """Relative error of the worst of three tokens, over both projections."""
        worst = 0.0
        for down, (batch, weights) in enumerate(zip(self.batches, self.weights)):
            y = batch.new_output()
            self.project(down, block, routing, y)
            for token in sorted({0, batch.tokens // 2, batch.tokens - 1}):
                rows = batch.expected(weights, token)
                worst = max(worst, ((y[token].float() - rows).norm() / rows.norm()).item())
        return worst


def paths(shape, tokens):
    """Those that can win; block None is the path without sorting, which vLLM takes while pairs are few beside experts."""
    found = {}
    if tokens <= 8 or tokens * shape.per_token * 8 <= shape.experts * shape.adapters:
        found["naive"] = None
    for block, least in ((16, 1), (32, 1), (64, 16), (128, 512)):
        if tokens >= least:
            found[f"sorted{block}"] = block
    return found


def finish_error(built, gate_up, active, down, total):
    """Relative error of activation and sum, over what they read."""
    built.activate(gate_up, active)
    built.add_up(down, total)
    gate, up = gate_up.view(active.shape[0], -1).float().chunk(2, dim=1)
    expected = torch.nn.functional.silu(gate) * up
    sums = down.float().sum(dim=1)
    return max(((active.float() - expected).norm() / expected.norm()).item(), ((total.float() - sums).norm() / sums.norm()).item())


def calls_of(layer, built, block, outputs, finished):
    """The parts of a layer in their order, by name, and the blocks where there are some."""
    batch = layer.batches[0]
    parts = {}
    if block is None:
        routing = (None, batch.unsorted_experts, None)
    else:
        blocks = Blocks(built.sort, batch, block)
        blocks.fill()
        blocks.require(batch.sorted_blocks(block), block)
        routing = blocks.routing()
        parts["align"] = blocks.fill
    parts["gate_up"] = lambda: layer.project(0, block, routing, outputs[0])
    if built.variants:
        active, total = finished
        parts["activate"] = lambda: built.activate(outputs[0], active)
        parts["down"] = lambda: layer.project(1, block, routing, outputs[1], active)
        parts["sum"] = lambda: built.add_up(outputs[1], total)
    else:
        parts["down"] = lambda: layer.project(1, block, routing, outputs[1])
    return parts, routing


def measure(layer, built):
    batch, down = layer.batches
    repeats = 20 if batch.tokens < 4096 else 5
    micros, worst, calls = {}, 0.0, {}
    for name, block in paths(batch.shape, batch.tokens).items():
        outputs = [each.new_output() for each in layer.batches]
        finished = torch.zeros_like(down.x), outputs[1].new_zeros(batch.tokens, outputs[1].shape[2])
        calls[name], routing = calls_of(layer, built, block, outputs, finished)
        error = layer.error(block, routing)
        if built.variants:
            layer.project(0, block, routing, outputs[0])
            layer.project(1, block, routing, outputs[1])
            error = max(error, finish_error(built, outputs[0], finished[0], outputs[1], finished[1]))
        if not error <= kernels.LARGEST_ERROR:
            sys.exit(f"{name} of vLLM is wrong: relative error {error}")
        worst = max(worst, error)

        def whole(parts=tuple(calls[name].values())):
            for part in parts:
                part()

        micros[name] = kernels.graph_micros(whole, repeats)
    best = min(micros, key=micros.get)
    parts = {part: round(kernels.graph_micros(call, repeats), 2) for part, call in calls[best].items()}
    return {"micros": {name: round(value, 2) for name, value in micros.items()}, "error": round(worst, 5), "parts": parts}


def both_batches(name, tokens, dtype):
    """Batches of gate/up and down with one routing."""
    up, down = (kernels.Batch(shape, tokens, dtype) for shape in LAYERS[name])
    for shared in ("expert_ids", "unsorted_experts", "routing_weights"):
        setattr(down, shared, getattr(up, shared))
    return up, down


def compile_block(operator_path, layer_name, dtype, rank, name, block, tokens):
    """Compiles what Triton needs for one path of a layer, at all batch sizes that take it."""
    operator = kernels.load_operator(operator_path)
    weights = tuple(kernels.Weights.random(shape, rank, kernels.TYPES[dtype]) for shape in LAYERS[layer_name])
    for count in tokens:
        if name in paths(LAYERS[layer_name][0], count):
            batches = both_batches(layer_name, count, kernels.TYPES[dtype])
            layer = Layer(operator, batches, weights, rank)
            routing = (None, batches[0].unsorted_experts, None) if block is None else batches[0].sorted_blocks(block)
            for down in (0, 1):
                layer.project(down, block, routing, batches[down].new_output())
    torch.cuda.synchronize()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", metavar="FOLDER", type=pathlib.Path)
    parser.add_argument("--layers", nargs="+", choices=LAYERS, default=list(LAYERS))
    parser.add_argument("--types", nargs="+", choices=kernels.TYPES, default=["bf16"])
    parser.add_argument("--ranks", nargs="+", type=int, default=[16, 64])
    parser.add_argument("--tokens", nargs="+", type=int, default=[1, 8, 80, 1024, 8192])
    parser.add_argument("--variants", action="store_true", help="activation and sum over experts, too")
    kernels.add_compile_options(parser)
    parser.add_argument("--seconds", type=float, default=420, help="start no cell after this time (default %(default)s)")
    options = parser.parse_args()
    begun = time.monotonic()
    path = find(options.folder, OPERATOR)
    cells = [(name, dtype, rank) for dtype in options.types for name in options.layers for rank in options.ranks]
    tasks = [
        (str(path), *cell, name, block, options.tokens)
        for cell in cells
        for name, block in kernels.all_blocks(lambda count: paths(LAYERS[cell[0]][0], count), options.tokens).items()
    ]
    with concurrent.futures.ThreadPoolExecutor(1) as beside:
        building = beside.submit(Kernels, options.folder, options.variants)
        kernels.compile_ahead(compile_block, tasks, options.jobs, [path])
        built = building.result()
    if options.warm:
        return
    torch.manual_seed(1)
    operator = kernels.load_operator(path)
    print(json.dumps({"device": torch.cuda.get_device_name(), "torch": torch.__version__}), flush=True)
    for name, dtype, rank in cells:
        weights = tuple(kernels.Weights.random(shape, rank, kernels.TYPES[dtype]) for shape in LAYERS[name])
        for tokens in options.tokens:
            if time.monotonic() - begun > options.seconds:
                sys.exit(f"out of time after {options.seconds:.0f} s")
            layer = Layer(operator, both_batches(name, tokens, kernels.TYPES[dtype]), weights, rank)
            cell = {"layer": name, "type": dtype, "rank": rank, "tokens": tokens}
            print(json.dumps(cell | measure(layer, built)), flush=True)
            del layer
        del weights
        torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
