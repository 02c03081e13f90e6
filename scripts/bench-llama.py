#!/usr/bin/env python3
"""Times llama.cpp on the CPU with and without adapters, for scripts/bench-cpu-peer.

    scripts/bench-llama.py FOLDER MODEL --adapters FILE ... --tokens T ... --threads N

FOLDER holds llama.cpp's shared libraries: libllama, libggml, libggml-base and those of the CPU. Prints a JSON line for each batch size and
adapter (null for none): "micros", the median microseconds of a llama_decode of that many tokens in an empty context, and for adapters "cost", lower quartile, median and
upper quartile of what each turn took longer with the adapter than without. Runs with and without adapters take turns, so that a change of the clock reaches
all; few tokens, of which an adapter costs little beside what a batch varies by, take more turns.

Structures of parameters are passed as they come from llama.cpp, in room for more than they have: nothing here depends on their fields.
"""
import argparse
import ctypes
import json
import pathlib
import statistics
import sys
import time

ROOM = 2048
ERROR = 4
ALLOCATED = 512


class Parameters(ctypes.Structure):
    _fields_ = [("bytes", ctypes.c_char * ROOM)]


class Batch(ctypes.Structure):
    _fields_ = [
        ("tokens", ctypes.c_int32),
        ("token", ctypes.POINTER(ctypes.c_int32)),
        ("embedding", ctypes.c_void_p),
        ("position", ctypes.POINTER(ctypes.c_int32)),
        ("sequences", ctypes.POINTER(ctypes.c_int32)),
        ("sequence", ctypes.POINTER(ctypes.POINTER(ctypes.c_int32))),
        ("output", ctypes.POINTER(ctypes.c_int8)),
    ]


SIGNATURES = {
    "llama_backend_init": (None, []),
    "llama_log_set": (None, [ctypes.c_void_p, ctypes.c_void_p]),
    "llama_model_default_params": (Parameters, []),
    "llama_context_default_params": (Parameters, []),
    "llama_model_load_from_file": (ctypes.c_void_p, [ctypes.c_char_p, Parameters]),
    "llama_init_from_model": (ctypes.c_void_p, [ctypes.c_void_p, Parameters]),
    "llama_set_n_threads": (None, [ctypes.c_void_p, ctypes.c_int32, ctypes.c_int32]),
    "llama_adapter_lora_init": (ctypes.c_void_p, [ctypes.c_void_p, ctypes.c_char_p]),
    "llama_set_adapters_lora": (ctypes.c_int32, [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p]),
    "llama_get_memory": (ctypes.c_void_p, [ctypes.c_void_p]),
    "llama_memory_clear": (None, [ctypes.c_void_p, ctypes.c_bool]),
    "llama_batch_init": (Batch, [ctypes.c_int32, ctypes.c_int32, ctypes.c_int32]),
    "llama_decode": (ctypes.c_int32, [ctypes.c_void_p, Batch]),
    "llama_synchronize": (None, [ctypes.c_void_p]),
}


def load(folder):
    """The library, its functions typed, with the backends of the CPU."""

    def library(name):
        found = sorted(folder.glob(f"lib{name}.so")) or sorted(folder.glob(f"lib{name}.*so*"))
        if not found:
            sys.exit(f"{folder} must hold llama.cpp's library lib{name}")
        return ctypes.CDLL(str(found[0]), ctypes.RTLD_GLOBAL)

    library("ggml-base")
    library("ggml").ggml_backend_load_all_from_path(str(folder).encode())
    llama = library("llama")
    for name, (result, arguments) in SIGNATURES.items():
        try:
            function = getattr(llama, name)
        except AttributeError:
            sys.exit(f"llama.cpp's library must have {name}: a newer or older version is needed")
        function.restype, function.argtypes = result, arguments
    return llama


@ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
def log(level, text, _data):
    if level >= ERROR:
        sys.stderr.write(text.decode(errors="replace"))


class Decoder:
    """A model in a context, and a batch whose arrays are filled for each run."""

    def __init__(self, llama, model, threads):
        self.llama = llama
        self.model = llama.llama_model_load_from_file(str(model).encode(), llama.llama_model_default_params())
        if not self.model:
            sys.exit(f"llama.cpp cannot load {model}")
        self.context = llama.llama_init_from_model(self.model, llama.llama_context_default_params())
        llama.llama_set_n_threads(self.context, threads, threads)
        self.batch = llama.llama_batch_init(ALLOCATED, 0, 1)

    def adapter(self, file):
        adapter = self.llama.llama_adapter_lora_init(self.model, str(file).encode())
        if not adapter:
            sys.exit(f"llama.cpp cannot load {file}")
        return adapter

    def use(self, adapter):
        adapters, scales = (ctypes.c_void_p * 1)(adapter), (ctypes.c_float * 1)(1.0)
        if self.llama.llama_set_adapters_lora(self.context, adapters, 0 if adapter is None else 1, scales):
            sys.exit("llama.cpp refuses the adapter")

    def micros(self, tokens, round):
        self.llama.llama_memory_clear(self.llama.llama_get_memory(self.context), True)
        self.batch.tokens = tokens
        for i in range(tokens):
            self.batch.token[i] = (31 * i + 7 * round + 3) % 256
            self.batch.position[i] = i
            self.batch.sequences[i] = 1
            self.batch.sequence[i][0] = 0
            self.batch.output[i] = i == tokens - 1
        start = time.perf_counter()
        if self.llama.llama_decode(self.context, self.batch):
            sys.exit(f"llama.cpp cannot decode {tokens} tokens")
        self.llama.llama_synchronize(self.context)
        return 1e6 * (time.perf_counter() - start)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("--adapters", nargs="+", type=pathlib.Path, required=True)
    parser.add_argument("--tokens", nargs="+", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    options = parser.parse_args()
    if max(options.tokens) > ALLOCATED:
        sys.exit(f"--tokens must be at most {ALLOCATED}")
    llama = load(options.folder)
    llama.llama_log_set(ctypes.cast(log, ctypes.c_void_p), None)
    llama.llama_backend_init()
    decoder = Decoder(llama, options.model, options.threads)
    adapters = {None: None} | {file: decoder.adapter(file) for file in options.adapters}
    for tokens in options.tokens:
        turns, runs = (6, 3) if tokens >= 256 else (8, 8) if tokens >= 32 else (40, 10)
        samples, medians = {file: [] for file in adapters}, {file: [] for file in adapters}
        for turn in range(turns + 1):
            for file, adapter in adapters.items():
                decoder.use(adapter)
                decoder.micros(tokens, 0)
                taken = [decoder.micros(tokens, run) for run in range(runs)]
                # the first turn warms up
                samples[file] += taken if turn else []
                medians[file] += [statistics.median(taken)] if turn else []
        for file, taken in samples.items():
            line = {"adapter": file and file.name, "tokens": tokens, "micros": round(statistics.median(taken), 1)}
            if file:
                costs = [with_it - without for with_it, without in zip(medians[file], medians[None])]
                line["cost"] = [round(cost, 1) for cost in statistics.quantiles(costs, n=4, method="inclusive")]
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
