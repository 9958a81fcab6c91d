"""The decode step in C (decode.c), compiled once for this machine by the compiler that it has, if it has one."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import mmap
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

import torch
from torch import Tensor

from lav2.weights import cache_dir

SOURCE = Path(__file__).with_name("decode.c")
FLAGS = ("-O3", "-march=native", "-fopenmp", "-shared", "-fPIC")
SECONDS = 20  # that the compiler may take; gcc 12 takes about one


@functools.cache
def library() -> ctypes.CDLL | None:
    """The compiled decode.c, or None: there is no C compiler here, or it cannot compile this.

    The compiled file lies in the cache folder, under a name that changes with the source and the processor.
    """
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    identity = SOURCE.read_bytes() + f"{FLAGS} {compiler} {_processor()}".encode()
    path = cache_dir() / f"decode-{hashlib.sha256(identity).hexdigest()[:16]}.so"
    try:
        if not path.exists():
            if compiler is None:
                return None
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=path.parent) as folder:  # renamed when complete
                made = Path(folder) / path.name
                command = [*compiler.split(), *FLAGS, str(SOURCE), "-o", str(made), "-lm"]
                subprocess.run(command, check=True, capture_output=True, timeout=SECONDS)
                made.rename(path)
        loaded = ctypes.CDLL(str(path))
    except (OSError, subprocess.SubprocessError):
        return None
    number, address = ctypes.c_int64, ctypes.c_void_p
    loaded.lav2_step.argtypes = [address] * 8 + [number, address, number, address, address, number]
    loaded.lav2_linear.argtypes = [address] * 3 + [number] * 3 + [address] * 2 + [number]
    loaded.lav2_expand.argtypes = [address, address, number, number, address, number, number]
    loaded.lav2_quantise.argtypes = [address, number, address, address, number, number, address, address, number]
    for function in (loaded.lav2_step, loaded.lav2_linear, loaded.lav2_expand, loaded.lav2_quantise):
        function.restype = None
    return loaded


def lanes() -> int:
    """Float32 numbers in a register that decode.c uses here; there is a `library`."""
    return ctypes.c_int64.in_dll(library(), "lav2_lanes").value


def memory(size: int) -> Tensor:
    """Bytes that are not set to anything, in pages of 2 MB where the system has them for those who ask."""
    if not hasattr(mmap, "MADV_HUGEPAGE"):
        return torch.empty(size, dtype=torch.uint8)
    found = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with contextlib.suppress(OSError):  # a system without them
        found.madvise(mmap.MADV_HUGEPAGE)
    return torch.frombuffer(found, dtype=torch.uint8)  # keeps the mapping


def trim() -> None:
    """Give freed memory back to the system; glibc keeps what the folding of 30 layers freed, 0.7 GB, for itself."""
    with contextlib.suppress(AttributeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)


def share_arenas() -> None:
    """Two pools of memory for all threads. glibc gives each thread its own, and what one frees, no other can use: with
    experts in threads, 0.2 GB."""
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).mallopt(-8, 2)  # M_ARENA_MAX


def _processor() -> str:
    """What -march=native depends on."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    return next((line for line in lines if line.startswith(("flags", "Features"))), platform.machine())
