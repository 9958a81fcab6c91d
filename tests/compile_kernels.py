"""Compile the kernels of lav2/inference/kernels.py for a GPU, where there need be none, and print their assembly."""

import json
import sys
from pathlib import Path

from triton import compile
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from lav2.inference import kernels

DTYPE = sys.argv[1]
OF_KEYS = {"ADDS": True, "HEADS": 9, "GROUPS": 3, "HEAD": 64, "NORMS": True, "SPLITS": 4, "KEY_BLOCK": 128}
TYPES = {"state": "*i64", "positions": "*i64", "first": "*i64", "cosine": "*fp32", "signed": "*fp32", "stats": "*fp32",
         "partials": "*fp32", "width": "i32", "epsilon": "fp32", "scaling": "fp32"}  # fmt: skip


def made(kernel, size: int, warps: int) -> str:
    names = kernel.arg_names
    fixed = {**OF_KEYS, "SIZE": size}
    signature = {name: "constexpr" if name in fixed else TYPES.get(name, f"*{DTYPE}") for name in names}
    constants = {(names.index(name),): value for name, value in fixed.items() if name in names}
    aligned = {(i,): [["tt.divisibility", 16]] for i, name in enumerate(names) if signature[name].startswith("*")}
    source = ASTSource(fn=kernel, signature=signature, constexprs=constants, attrs=aligned)
    return compile(source, target=GPUTarget("cuda", 80, 32), options={"num_warps": warps}).asm["ptx"]


SHAPES = {kernels._add_norm: (1024, 4), kernels._silu_times: (1024, 4), kernels._attend_split: (64, 8),
          kernels._merge_partials: (64, 1)}  # fmt: skip
print(json.dumps({kernel.__name__: made(kernel, *shape) for kernel, shape in SHAPES.items()}))
