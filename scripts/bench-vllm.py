#!/usr/bin/env python3
"""Measures vLLM's Triton operator for MoE LoRA by itself, for scripts/bench-gpu.

    scripts/bench-vllm.py FUSED_MOE_LORA_OP_PY [--cases NAME ...] [--types T ...] [--ranks R ...] [--tokens T ...] [--jobs N] [--warm]
                          [--seconds S]

The file is vllm/lora/ops/triton_ops/fused_moe_lora_op.py of a vLLM checkout; the rest of vLLM is not needed, since the few things
that the file imports are stood in for. Needs PyTorch and Triton.

Prints JSON lines: first the device's ceilings (a device-to-device copy, counted read and written, and a bf16 product of 8192 x 8192
matrices), then for each cell the GPU microseconds of each variant and the error of the worst one: "naive" takes unsorted pairs,
"sortedN" blocks of N rows that were sorted beforehand. The time is that of the replay of a CUDA graph of several calls, divided by
their number; the median of the replays counts.

What Triton must compile is compiled before anything is timed, by several processes at once, into Triton's cache on disk; a later run of
the same cells finds it there. --warm ends after that: it may run beside other work, which a timed run may not.
"""
import argparse
import hashlib
import importlib.util
import json
import multiprocessing
import os
import pathlib
import sys
import time
import types
from dataclasses import dataclass

import torch
import triton
import triton.language

TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
SEQUENCES = 8
REPLAYS = 30
LARGEST_ERROR = 0.02


@dataclass(frozen=True)
class Shape:
    """A projection: width of x, width of one slice of y, experts, experts of a token, adapters, slices; down: x has a row per pair."""

    width: int
    slice_width: int
    experts: int
    per_token: int
    adapters: int
    slices: int
    down: bool


SHAPES = {
    "qwen3_30b_w13": Shape(2048, 768, 128, 8, 2, 2, False),
    "qwen3_30b_w2": Shape(768, 2048, 128, 8, 2, 1, True),
    "qwen3moe64": Shape(2048, 1408, 64, 8, 4, 2, False),
    "mixtral": Shape(4096, 7168, 8, 2, 4, 2, False),
}


class CudaPlatform:
    """What the operator asks vLLM's platform."""

    device_type = "cuda"

    def is_cuda(self):
        return True

    def is_cuda_alike(self):
        return True

    def has_device_capability(self, _capability):
        return torch.cuda.get_device_capability() >= (9, 0)

    def num_compute_units(self, device=None):
        return torch.cuda.get_device_properties(device or 0).multi_processor_count


def stand_in(name, **members):
    made = types.ModuleType(name)
    made.__path__ = []
    for member, value in members.items():
        setattr(made, member, value)
    sys.modules[name] = made


def load_operator(path):
    """Loads the file as the module that it is in vLLM, and returns the function that launches both kernels."""

    def refuse_registration(*_args, **_kwargs):
        # the operator's file goes on without PyTorch's registry when this error is raised
        raise AttributeError("called directly, not through torch.ops")

    def set_allocator(device):
        triton.set_allocator(lambda size, _alignment, _stream: torch.empty(size, dtype=torch.int8, device=device))

    def hopper(_device=None):
        return torch.cuda.get_device_capability() >= (9, 0)

    for package in ("vllm", "vllm.lora", "vllm.lora.ops", "vllm.lora.ops.triton_ops", "vllm.utils"):
        stand_in(package)
    stand_in("vllm.platforms", current_platform=CudaPlatform())
    stand_in("vllm.distributed", tensor_model_parallel_all_gather=lambda x: x, tensor_model_parallel_all_reduce=lambda x: x)
    stand_in("vllm.triton_utils", triton=triton, tl=triton.language)
    stand_in("vllm.triton_utils.allocation", set_triton_allocator=set_allocator)
    shared = getattr(torch.cuda.get_device_properties(0), "shared_memory_per_block_optin", 227 * 1024)
    stand_in("vllm.utils.mem_utils", get_max_shared_memory_bytes=lambda _device=0: shared)
    stand_in("vllm.utils.torch_utils", direct_register_custom_op=refuse_registration)
    stand_in("vllm.lora.ops.triton_ops.utils", supports_pdl=hopper, supports_tma=hopper)

    name = "vllm.lora.ops.triton_ops.fused_moe_lora_op"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module._fused_moe_lora


def graph_micros(call, repeats):
    """Median GPU time of a call, from replays of a graph of `repeats` calls."""
    warm = torch.cuda.Stream()
    warm.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(warm):
        for _ in range(3):
            call()
    torch.cuda.current_stream().wait_stream(warm)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(repeats):
            call()
    graph.replay()
    samples = []
    for _ in range(REPLAYS):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        graph.replay()
        end.record()
        end.synchronize()
        samples.append(1000 * start.elapsed_time(end) / repeats)
    return sorted(samples)[REPLAYS // 2]


def add_compile_options(parser):
    parser.add_argument("--jobs", type=int, default=14, help="processes that compile before anything is timed (default %(default)s)")
    parser.add_argument("--warm", action="store_true", help="compile into Triton's cache, and measure nothing")


def compile_ahead(function, tasks, jobs, sources):
    """Calls the function with each task, in several processes; not again while Triton's cache has what came of it."""
    texts = b"".join(pathlib.Path(source).read_bytes() for source in sources)
    cache = pathlib.Path(os.environ.get("TRITON_CACHE_DIR") or pathlib.Path.home() / ".triton" / "cache")

    def mark(task):
        key = repr((triton.__version__, torch.cuda.get_device_name(), task)).encode() + texts
        return cache / f"bench-vllm-{hashlib.sha256(key).hexdigest()[:32]}"

    left = [task for task in tasks if not mark(task).exists()]
    if jobs < 1 or not left:
        return
    begun = time.monotonic()
    threads = os.environ.get("OMP_NUM_THREADS")
    # or each of them would have as many threads as there are cores
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        with multiprocessing.get_context("spawn").Pool(min(jobs, len(left))) as pool:
            pool.starmap(function, left, chunksize=1)
    finally:
        if threads is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = threads
    cache.mkdir(parents=True, exist_ok=True)
    for task in left:
        mark(task).touch()
    print(f"compiled ahead in {time.monotonic() - begun:.1f} s", file=sys.stderr, flush=True)


def ceilings():
    source = torch.randint(0, 127, (1 << 28,), dtype=torch.int8, device="cuda")
    target = torch.empty_like(source)
    copied = 2 * source.numel() / (graph_micros(lambda: target.copy_(source), 5) * 1e-6)
    left, right = (torch.randn(8192, 8192, dtype=torch.bfloat16, device="cuda") for _ in range(2))
    product = torch.empty_like(left)
    flop = 2 * 8192**3 / (graph_micros(lambda: torch.matmul(left, right, out=product), 5) * 1e-6)
    return {
        "device": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "triton": triton.__version__,
        "copy_bytes_per_second": copied,
        "flop_per_second": flop,
    }


@dataclass
class Weights:
    """Matrices of one shape and rank: a list entry for each slice, [L, E, R, H] and [L, E, O, R]."""

    a: list
    b: list

    @staticmethod
    def random(shape, rank, dtype):
        def matrices(rows, columns):
            size = (shape.adapters, shape.experts, rows, columns)
            return [torch.randn(size, dtype=dtype, device="cuda") / columns**0.5 for _ in range(shape.slices)]

        return Weights(matrices(rank, shape.width), matrices(shape.slice_width, rank))


class Batch:
    """Tokens with random experts; adapters alternate over up to 8 sequences."""

    def __init__(self, shape, tokens, dtype):
        self.shape, self.tokens = shape, tokens
        # [T, K] on the host, where the sorting happens
        self.expert_ids = torch.rand(tokens, shape.experts).argsort(dim=1)[:, : shape.per_token].int().contiguous()
        sequences = min(tokens, SEQUENCES)
        lengths = [tokens // sequences + (i < tokens % sequences) for i in range(sequences)]
        self.adapter_ids = torch.cat(
            [torch.full((length,), i % shape.adapters, dtype=torch.int32) for i, length in enumerate(lengths)]
        )
        routing = torch.rand(tokens, shape.per_token) + 0.1
        self.routing_weights = (routing / routing.sum(dim=1, keepdim=True)).to("cuda", dtype)
        self.unsorted_experts = self.expert_ids.view(-1).cuda()
        self.token_adapters = self.adapter_ids.cuda()
        self.x = torch.randn(tokens * (shape.per_token if shape.down else 1), shape.width, dtype=dtype, device="cuda")
        active = self.adapter_ids.unique()
        listed = torch.full((shape.adapters + 1,), -1, dtype=torch.int32)
        listed[: len(active)] = active
        self.active_adapters = listed.cuda()
        self.active_count = torch.tensor([len(active)], dtype=torch.int32)
        self.enabled = torch.ones(shape.adapters + 1, dtype=torch.int32, device="cuda")

    def new_output(self):
        shape = self.shape
        return torch.zeros(self.tokens, shape.per_token, shape.slices * shape.slice_width, dtype=self.x.dtype, device="cuda")

    def sorted_blocks(self, block):
        """For each adapter its pairs by expert, padded to whole blocks; the expert of each block; the padded length."""
        shape = self.shape
        experts = self.expert_ids.view(-1).long()
        pairs = experts.numel()
        # as vLLM sizes the lists: every expert may end in a partly filled block, and no pair needs more than a block
        most = pairs + shape.experts * (block - 1)
        if pairs < shape.experts:
            most = min(most, pairs * block)
        capacity = -(-most // block) * block
        token_ids = torch.full((shape.adapters, capacity), pairs, dtype=torch.int32)
        block_experts = torch.full((shape.adapters, capacity // block), -1, dtype=torch.int32)
        lengths = torch.zeros(shape.adapters, dtype=torch.int32)
        owners = self.adapter_ids.repeat_interleave(shape.per_token)
        for adapter in range(shape.adapters):
            mine = (owners == adapter).nonzero().view(-1)
            mine = mine[experts[mine].sort(stable=True).indices]
            counts = torch.bincount(experts[mine], minlength=shape.experts)
            blocks = (counts + block - 1) // block
            ordered = experts[mine]
            within = torch.arange(len(mine)) - (counts.cumsum(0) - counts)[ordered]
            start = (blocks.cumsum(0) - blocks) * block
            token_ids[adapter, start[ordered] + within] = mine.int()
            used = int(blocks.sum())
            block_experts[adapter, :used] = torch.arange(shape.experts).repeat_interleave(blocks).int()
            lengths[adapter] = used * block
        return token_ids.cuda(), block_experts.cuda(), lengths.cuda()

    def expected(self, weights, token):
        """Rows of a token in float32, [K, slices * O]."""
        shape, rows = self.shape, []
        for k in range(shape.per_token):
            expert, adapter = int(self.expert_ids[token, k]), int(self.adapter_ids[token])
            x = self.x[token * shape.per_token + k if shape.down else token].float()
            parts = [b[adapter, expert].float() @ (a[adapter, expert].float() @ x) for a, b in zip(weights.a, weights.b)]
            factor = float(self.routing_weights[token, k]) if shape.down else 1.0
            rows.append(torch.cat(parts) * factor)
        return torch.stack(rows)


def variants(tokens):
    """Those that can win; block None is the path without sorting."""
    if tokens <= 8:
        return {"naive": None, "sorted16": 16, "sorted32": 32}
    if tokens < 512:
        return {"sorted16": 16, "sorted32": 32, "sorted64": 64}
    blocks = (16, 32, 64, 128) if tokens < 4096 else (32, 64, 128)
    return {f"sorted{block}": block for block in blocks}


def call_operator(operator, batch, weights, rank, block, y):
    """A call without sorting or on blocks that are sorted here; returns it with its routing, to be called again."""
    shape = batch.shape
    routing = (None, batch.unsorted_experts, None) if block is None else batch.sorted_blocks(block)
    # rows, columns, depth, groups, warps, stages, split of the depth
    tile = (block or 16, 64, 32, 8, 4, 3, 1)

    def call():
        operator(
            y,
            batch.x,
            weights.a,
            weights.b,
            batch.routing_weights,
            *routing,
            batch.token_adapters,
            rank,
            shape.per_token,
            batch.active_adapters,
            batch.active_count,
            batch.enabled,
            *tile,
            *tile,
            shape.down,
            False,
            0,
        )

    call()
    return call


def measure(operator, batch, weights, rank):
    repeats = 20 if batch.tokens < 4096 else 5
    tokens_checked = sorted({0, batch.tokens // 2, batch.tokens - 1})
    expected = [batch.expected(weights, token) for token in tokens_checked]
    micros, worst = {}, 0.0
    for name, block in variants(batch.tokens).items():
        y = batch.new_output()
        call = call_operator(operator, batch, weights, rank, block, y)
        for token, rows in zip(tokens_checked, expected):
            error = ((y[token].float() - rows).norm() / rows.norm()).item()
            if not error <= LARGEST_ERROR:
                sys.exit(f"{name} of vLLM's operator is wrong for token {token}: relative error {error}")
            worst = max(worst, error)
        micros[name] = graph_micros(call, repeats)
    return {"micros": {name: round(value, 2) for name, value in micros.items()}, "error": round(worst, 5)}


def compile_block(path, case, dtype, rank, name, block, tokens):
    """Compiles what Triton needs for one path of a case, at all batch sizes that take it."""
    operator = load_operator(path)
    weights = Weights.random(SHAPES[case], rank, TYPES[dtype])
    for count in tokens:
        if name in variants(count):
            batch = Batch(SHAPES[case], count, TYPES[dtype])
            call_operator(operator, batch, weights, rank, block, batch.new_output())
    torch.cuda.synchronize()


def all_blocks(found, tokens):
    """The paths of all batch sizes, each with its block."""
    return {name: block for count in tokens for name, block in found(count).items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("operator", metavar="FUSED_MOE_LORA_OP_PY")
    parser.add_argument("--cases", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--types", nargs="+", choices=TYPES, default=["bf16"])
    parser.add_argument("--ranks", nargs="+", type=int, default=[16, 64])
    parser.add_argument("--tokens", nargs="+", type=int, default=[1, 8, 64, 1024, 8192])
    add_compile_options(parser)
    parser.add_argument("--seconds", type=float, default=420, help="start no cell after this time (default %(default)s)")
    options = parser.parse_args()
    begun = time.monotonic()
    tasks = [
        (options.operator, case, dtype, rank, name, block, options.tokens)
        for dtype in options.types
        for case in options.cases
        for rank in options.ranks
        for name, block in all_blocks(variants, options.tokens).items()
    ]
    compile_ahead(compile_block, tasks, options.jobs, [options.operator])
    if options.warm:
        return
    torch.manual_seed(1)
    operator = load_operator(options.operator)
    print(json.dumps(ceilings()), flush=True)
    for dtype in options.types:
        for case in options.cases:
            for rank in options.ranks:
                weights = Weights.random(SHAPES[case], rank, TYPES[dtype])
                for tokens in options.tokens:
                    if time.monotonic() - begun > options.seconds:
                        sys.exit(f"out of time after {options.seconds:.0f} s")
                    batch = Batch(SHAPES[case], tokens, TYPES[dtype])
                    cell = {"case": case, "type": dtype, "rank": rank, "tokens": tokens}
                    print(json.dumps(cell | measure(operator, batch, weights, rank)), flush=True)
                del weights
                torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
