#!/usr/bin/env python3
"""Measures what routing into groups and a library's grouped products (CUTLASS, through PyTorch) would give instead of kernels of one's own.

    scripts/bench-hybrid.py [--cases NAME ...] [--types T ...] [--ranks R ...] [--tokens T ...]

Pairs are sorted by (adapter, expert) beforehand. "products" times the grouped products alone: shrink, and expand for each slice, on rows
that lie in the order of the groups. "whole" is what a layer needs: rows of x gathered, the products, deltas added to the rows of y.
Prints a JSON line for each cell; shapes, batches and the way of timing are those of bench-vllm.py beside this file. Needs a GPU from
Hopper up and PyTorch.
"""
import argparse
import importlib.util
import json
import sys
from pathlib import Path

import torch

spec = importlib.util.spec_from_file_location("bench_vllm", Path(__file__).with_name("bench-vllm.py"))
bench = importlib.util.module_from_spec(spec)
sys.modules["bench_vllm"] = bench
spec.loader.exec_module(bench)


def grouped(rows, matrices, ends):
    """Products of the rows of each group with its matrix: [M, K] and [G, N, K] give [M, N]."""
    return torch._grouped_mm(rows, matrices.transpose(1, 2), offs=ends)


class Hybrid:
    """One shrink and expand; the order of pairs, their ends by group and the rows of x are made once."""

    def __init__(self, batch, weights, rank):
        shape = batch.shape
        groups = shape.adapters * shape.experts
        owners = batch.adapter_ids.repeat_interleave(shape.per_token).long()
        keys = owners * shape.experts + batch.expert_ids.view(-1).long()
        order = keys.sort(stable=True).indices
        self.rank, self.slices, self.batch = rank, shape.slices, batch
        self.order = order.cuda()
        self.ends = torch.bincount(keys, minlength=groups).cumsum(0).int().cuda()
        self.rows = self.order if shape.down else self.order // shape.per_token
        self.a = torch.cat([a.view(groups, rank, shape.width) for a in weights.a], dim=1).contiguous()
        self.b = [b.view(groups, shape.slice_width, rank) for b in weights.b]
        self.factors = batch.routing_weights.view(-1)[self.order, None] if shape.down else None

    def products(self, x):
        z = grouped(x, self.a, self.ends)
        if self.factors is not None:
            z = z * self.factors
        return [grouped(z[:, s * self.rank : (s + 1) * self.rank], b, self.ends) for s, b in enumerate(self.b)]

    def whole(self, y):
        width = y.shape[1] // self.slices
        for s, delta in enumerate(self.products(self.batch.x[self.rows])):
            y[:, s * width : (s + 1) * width].index_add_(0, self.order, delta)


def measure(batch, weights, rank):
    hybrid = Hybrid(batch, weights, rank)
    y = batch.new_output()
    flat = y.view(-1, y.shape[-1])
    hybrid.whole(flat)
    for token in (0, batch.tokens // 2, batch.tokens - 1):
        rows = batch.expected(weights, token)
        error = ((y[token].float() - rows).norm() / rows.norm()).item()
        if not error <= bench.LARGEST_ERROR:
            sys.exit(f"token {token} is wrong: relative error {error}")
    sorted_rows = batch.x[hybrid.rows]
    return {
        "products_micros": round(bench.graph_micros(lambda: hybrid.products(sorted_rows), 5), 1),
        "whole_micros": round(bench.graph_micros(lambda: hybrid.whole(flat), 5), 1),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=bench.SHAPES, default=list(bench.SHAPES))
    parser.add_argument("--types", nargs="+", choices=bench.TYPES, default=["bf16"])
    parser.add_argument("--ranks", nargs="+", type=int, default=[16, 64])
    parser.add_argument("--tokens", nargs="+", type=int, default=[8192])
    options = parser.parse_args()
    torch.manual_seed(1)
    for dtype in options.types:
        for case in options.cases:
            for rank in options.ranks:
                weights = bench.Weights.random(bench.SHAPES[case], rank, bench.TYPES[dtype])
                for tokens in options.tokens:
                    batch = bench.Batch(bench.SHAPES[case], tokens, bench.TYPES[dtype])
                    cell = {"case": case, "type": dtype, "rank": rank, "tokens": tokens}
                    print(json.dumps(cell | measure(batch, weights, rank)), flush=True)


if __name__ == "__main__":
    main()
