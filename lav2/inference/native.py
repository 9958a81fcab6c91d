"""The decode step in C (decode.c and its parts), compiled once for this machine by the compiler that it has."""

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
import sys
import tempfile
from pathlib import Path

import torch
from torch import Tensor

from lav2 import files
from lav2.errors import LAV2Error
from lav2.weights import cache_dir

SOURCE = Path(__file__).with_name("decode.c")  # it includes the others
SOURCES = tuple(SOURCE.with_name(name) for name in ("decode.c", "vectors.h", "products.c", "attention.c"))
FLAGS = ("-O3", "-march=native", "-fopenmp", "-shared", "-fPIC")
LIBRARY = "decode.so"
SECONDS = 120  # that the compiler may take; gcc 12 takes 1 to 6 on a core of its own, which it may have to share


@functools.cache
def library() -> ctypes.CDLL | None:
    """The compiled decode.c, or None: there is no C compiler here, or it cannot compile this.

    The compiled file lies in the cache folder, under a name that changes with the source and the processor, in a folder
    with its size and hash. A damaged one is compiled again: to load it could end the process without a word.
    """
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    identity = b"".join(file.read_bytes() for file in SOURCES) + f"{FLAGS} {compiler} {_processor()}".encode()
    folder = cache_dir() / f"decode-{hashlib.sha256(identity).hexdigest()[:16]}"
    try:
        if compiler is None and not files.is_whole(folder):
            return None
        files.mended(folder, lambda: _compile(compiler, folder), files.is_whole)
        loaded = ctypes.CDLL(str(folder / LIBRARY))
    except (OSError, subprocess.SubprocessError, LAV2Error) as error:
        print(f"Answers will be slower: {SOURCE.name} could not be compiled ({_why(error)}).", file=sys.stderr)
        return None
    number, address = ctypes.c_int64, ctypes.c_void_p
    loaded.lav2_step.argtypes = [address] * 8 + [number, address, number, address, address, number]
    loaded.lav2_linear.argtypes = [address] * 3 + [number] * 3 + [address] * 2 + [number]
    loaded.lav2_expand.argtypes = [address, address, number, number, address, number, number]
    loaded.lav2_quantise.argtypes = [address, number, address, address, number, number, address, address, number]
    for function in (loaded.lav2_step, loaded.lav2_linear, loaded.lav2_expand, loaded.lav2_quantise):
        function.restype = None
    return loaded


def _why(error: Exception) -> str:
    """One line; of a compiler that failed, its first error."""
    if isinstance(error, subprocess.TimeoutExpired):
        return f"the compiler did not end within {SECONDS} s; the next start tries again"
    message = (
        error.stderr.decode("utf-8", "replace") if isinstance(error, subprocess.CalledProcessError) else str(error)
    )
    lines = [line for line in message.splitlines() if "error" in line] or message.splitlines()
    return lines[0][:200] if lines else "the compiler failed and gave no reason"


def _compile(compiler: str, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:  # renamed when complete
        made = Path(folder) / target.name
        made.mkdir()
        command = [*compiler.split(), *FLAGS, str(SOURCE), "-o", str(made / LIBRARY), "-lm"]
        subprocess.run(command, check=True, capture_output=True, timeout=SECONDS)
        files.write_manifest(made)
        try:
            made.rename(target)
        except OSError:
            if not target.exists():  # else another process was faster
                raise


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
