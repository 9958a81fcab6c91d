"""GGUF files as folders of transformers."""

from __future__ import annotations

import hashlib
import logging
import shutil
import tempfile
from pathlib import Path

import torch
import transformers
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer

from lav2 import files, weights
from lav2.errors import LAV2Error


def dequantised(gguf: Path) -> Path:
    """The cached folder of a GGUF file's weights in bfloat16; made on first use (about 20 s), and again where it is
    damaged.

    Raises:
        LAV2Error: the file cannot be read, or there is no room for the folder.
    """
    stat = gguf.stat()
    key = hashlib.sha256(f"{gguf.name} {stat.st_size} {stat.st_mtime_ns}".encode()).hexdigest()[:12]
    target = weights.cache_dir() / f"{gguf.stem}-{key}"
    return files.mended(target, lambda: _convert(gguf, target), files.is_whole)


def _convert(gguf: Path, target: Path) -> None:
    quiet = logging.getLogger("transformers")
    level = quiet.level
    quiet.setLevel(logging.ERROR)
    try:
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
        options = {"gguf_file": gguf.name, "dtype": torch.float32}
        if hasattr(transformers, "GgufConfig"):  # transformers >= 5.2x keeps GGUF weights packed unless told
            options["quantization_config"] = transformers.GgufConfig(gguf_file=gguf.name, dequantize=True)
        llm = AutoModelForCausalLM.from_pretrained(gguf.parent, **options).to(torch.bfloat16)
    except Exception as error:  # transformers and gguf raise a dozen types on a damaged file
        raise files.unreadable(gguf, error, "Get the file again.") from error
    finally:
        quiet.setLevel(level)
    target.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=target.parent))  # renamed when complete: an interrupted run leaves no half
    try:
        llm.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        files.write_manifest(folder)
        folder.rename(target)
    except BaseException as error:
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, OSError | SafetensorError) and not target.exists():  # else another process was faster
            raise LAV2Error(
                f"The language model could not be converted into {target.parent} ({error}).",
                "Free 0.5 GB there, or set LAV2_CACHE to another folder.",
            ) from error
        if not isinstance(error, OSError | SafetensorError):
            raise
