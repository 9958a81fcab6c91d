"""Before anything loads: the device and the precision, how much memory a preset needs, what is free, what is missing.
No torch on a CPU."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from lav2 import files, weights
from lav2.config import CONTEXT, PRESETS, Preset
from lav2.errors import LAV2Error

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}  # of a parameter
PACKED_BYTES = {"8bit": 1.01, "4bit": 0.57}  # of a weight of a linear layer with its factors (NF4: float32 per 64)
TABLES = 0.05  # share of the parameters that no packing touches (embedding, vocabulary) where no config says it
APP_BYTES = 1.7e9  # Python, torch, experts and a small image encoder: what `embedded` takes beside its weights
GPU_BYTES = 1.0e9  # of a GPU, beside the weights: CUDA itself, the experts and what they compute; an estimate
BIG_BYTES = 4e9  # smaller presets start without being checked
CLIP_BYTES = 1.3e9  # the vision tower of ViT-L/14 in float32
CLIP_REPOSITORY = "timm/vit_large_patch14_clip_224.openai"  # where open_clip finds OpenAI's ViT-L/14
CGROUP, DEV = Path("/sys/fs/cgroup"), Path("/dev")
# Caches of a whole context that one user's question takes on a GPU: its answer's, and the one that is kept of the last
# answer. On a CPU a cache takes memory as it fills, about one's for both. A caption's are short.
CACHES = 2
GPU_FILES = ("nvidia[0-9]*", "dxg", "kfd")  # in /dev of a Linux that has a GPU: NVIDIA's, that of WSL, AMD's
LLAMA_7B = {  # the config of the presets whose language model has to be imported first
    "model_type": "llama", "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 11008,
    "num_hidden_layers": 32, "num_attention_heads": 32, "max_position_embeddings": 2048,
}  # fmt: skip


def zero_gpu() -> bool:
    """Whether this is a Space on ZeroGPU: the package `spaces` lends the GPU to forked processes alone, and lets torch
    imitate one here, in the first thread. The variable is read as `spaces` reads it."""
    return os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true") and find_spec("spaces") is not None


def experts_device(place: str) -> str:
    """Where experts compute whose models are beside `place`: on ZeroGPU on the CPU, since they load in threads, and
    EasyOCR and ultralytics ask CUDA itself for the GPU."""
    return "cpu" if zero_gpu() else place


def device(asked: str | None = None) -> str:
    """The device to compute on, as torch names it: the one asked for, or a GPU where torch can use one, else `cpu`.

    Args:
        asked: `cpu`, `cuda`, `cuda:1` ...

    Raises:
        LAV2Error: it is not there.
    """
    no_gpu = sys.platform == "linux" and not any(any(DEV.glob(name)) for name in GPU_FILES)
    if asked == "cpu" or (asked is None and no_gpu and not zero_gpu()):
        return "cpu"
    import torch

    if asked is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    if not re.fullmatch(r"cuda(:[0-9]+)?", asked):
        raise LAV2Error(f"There is no device {asked!r}.", "Give cpu, cuda, or cuda:N for the GPU number N.")
    if torch.version.cuda is None and torch.version.hip is None:
        raise LAV2Error("The torch that is installed here is built for the CPU alone.",
                        "Install a build with CUDA (https://pytorch.org), or give --device cpu.")  # fmt: skip
    count = torch.cuda.device_count()
    if int(asked.partition(":")[2] or 0) >= count:
        raise LAV2Error(f"There is no {asked}: torch sees {count} GPUs here.",
                        "Choose a GPU that `nvidia-smi` lists (CUDA_VISIBLE_DEVICES hides others), or --device cpu."
                        )  # fmt: skip
    return asked


def precision(device: str) -> str:
    """The dtype of weights where none is asked for: bfloat16; float16 on a GPU that would only imitate it (NVIDIA's
    before Ampere)."""
    if not device.startswith("cuda"):
        return "bfloat16"
    import torch

    with torch.cuda.device(device):
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float16"


def parameters(config: Mapping) -> int:
    """Parameters of a LLaMA-family model, from its config.json (LLaMA, Mistral, Qwen2, Qwen3)."""
    width, hidden = config["hidden_size"], config["intermediate_size"]
    heads = config["num_attention_heads"]
    groups = config.get("num_key_value_heads") or heads
    size = config.get("head_dim") or width // heads
    kind = config["model_type"]
    layer = 2 * width * size * (heads + groups)  # q and o, k and v
    layer += 3 * width * hidden  # gate, up, down
    layer += 2 * width  # norms
    if kind == "qwen2" or config.get("attention_bias"):
        layer += size * (heads + 2 * groups) + (0 if kind == "qwen2" else width)
    if config.get("mlp_bias"):
        layer += 2 * hidden + width
    if kind == "qwen3":
        layer += 2 * size  # norms of queries and keys
    return config["num_hidden_layers"] * layer + _tables(config) + width


def _tables(config: Mapping) -> int:
    """Parameters of embedding and vocabulary."""
    return (1 if config.get("tie_word_embeddings") else 2) * config["vocab_size"] * config["hidden_size"]


def needed(
    preset: Preset, dtype: str = "bfloat16", quantize: str | None = None, device: str = "cpu", training: bool = False
) -> float:
    """Bytes of a running preset for one user: from its language model's config where that is here, else from
    `preset.memory_gb` or, where nobody could measure that, LLaMA-7B's.

    Args:
        quantize: `8bit` or `4bit` where bitsandbytes packs the linear layers while they load.
        device: `cpu`, or another, whose own memory alone is counted.
        training: what is frozen alone; what is trained, and the activations, come on top.
    """
    clip = CLIP_BYTES if preset.vision and preset.vision.library == "open_clip" else 0
    config, plain = _config(preset), BYTES[dtype]
    if config is None:
        count = max(0.0, preset.memory_gb * 1e9 - APP_BYTES - clip) / BYTES["bfloat16"]
        tables, answering = TABLES * count, 0.0  # measured while it answered
    else:
        count, tables = parameters(config), _tables(config)
        answering = cache_bytes(config, dtype) * (1 if device == "cpu" else CACHES)
        if not quantize:  # the engine folds keys' and values' projections into others and keeps them for prompts
            answering += 2 * config["num_hidden_layers"] * config["hidden_size"] * _key_width(config) * plain
    weights = tables * plain + (count - tables) * PACKED_BYTES.get(quantize, plain)
    return weights + clip + (APP_BYTES if device == "cpu" else GPU_BYTES) + (0.0 if training else answering)


def cache_bytes(config: Mapping, dtype: str) -> float:
    """Bytes of the keys and values of one text that fills the context, from a model's config.json."""
    context = min(CONTEXT, config.get("max_position_embeddings") or CONTEXT)
    return 2.0 * config["num_hidden_layers"] * _key_width(config) * context * BYTES[dtype]


def at_once(limit: int, preset: Preset, dtype: str, device: str, quantize: str | None = None) -> int:
    """How many questions may be answered at once: `limit` on a CPU, where caches take memory as they fill; on a GPU as
    many as have room beside the weights, at least one."""
    config = _config(preset)
    if device == "cpu" or config is None:
        return limit
    left = free(device) - needed(preset, dtype, quantize, device)
    return max(1, min(limit, 1 + int(left // cache_bytes(config, dtype))))


def _config(preset: Preset) -> Mapping | None:
    """config.json of the preset's language model; LLaMA-7B's where it is not here, None where `memory_gb` says it."""
    folder = local(preset.llm)
    if folder is not None and (folder / "config.json").exists():
        return files.read_json(folder / "config.json")
    return None if preset.memory_gb else LLAMA_7B


def _key_width(config: Mapping) -> int:
    """Channels of a token's keys in one layer."""
    heads = config["num_attention_heads"]
    size = config.get("head_dim") or config["hidden_size"] // heads
    return size * (config.get("num_key_value_heads") or heads)


def free(device: str = "cpu") -> float:
    """Bytes that can be taken now: of the GPU, or of the memory that the machine and its container allow; `auto`: of
    every GPU and the memory together."""
    if device == "auto":
        import torch

        return free() + sum(free(f"cuda:{number}") for number in range(torch.cuda.device_count()))
    if device.startswith("cuda"):
        import torch

        return float(torch.cuda.mem_get_info(device)[0])
    import psutil

    available = float(psutil.virtual_memory().available)
    try:
        limit, used = ((CGROUP / name).read_text().strip() for name in ("memory.max", "memory.current"))
        cached = dict(line.split() for line in (CGROUP / "memory.stat").read_text().splitlines())["inactive_file"]
    except OSError:  # no container, or none that says its limit
        return available
    return available if limit == "max" else min(available, float(limit) - float(used) + float(cached))


def check(preset: Preset, dtype: str, device: str = "cpu", quantize: str | None = None, training: bool = False) -> str:
    """What a preset needs and what is free, in words; a big one that does not fit is refused before anything loads.

    Args:
        device: of torch, or `auto` for a device map.
        quantize: as asked for; to answer on the CPU, 8bit is made of whole weights, so it needs their memory while it
            loads.
        training: see `needed`.

    Raises:
        LAV2Error: with what is needed, what is free and which preset fits.
    """
    whole = "8bit" if device == "cpu" and not training else None

    def size(dtype: str = dtype, quantize: str | None = quantize) -> float:
        return needed(preset, dtype, None if quantize == whole else quantize, device, training)

    need, have = size(), free(device)
    summary = f"about {need / 1e9:.1f} GB in {quantize or dtype}; {device} has {have / 1e9:.1f} GB free"
    if need <= max(have, BIG_BYTES):
        return f"The frozen models need {summary}." if training else f"{preset.name} needs {summary}."
    ways = {"--dtype bfloat16": size("bfloat16") if BYTES[dtype] > 2 else need}
    if device != "cpu":  # on a CPU, bitsandbytes would answer too slowly to be advised
        ways |= {f"--quantize {kind}": size(quantize=kind) for kind in PACKED_BYTES}
    fitting = next((way for way, wanted in ways.items() if wanted <= have), f"--preset {suggestion(have, device)}")
    raise LAV2Error(
        f"The preset {preset.name} needs {summary}.",
        f"Use {fitting}, close other programs, or run it on a machine with more memory.",
    )


def suggestion(have: float, device: str = "cpu") -> str:
    """The biggest preset whose parts are here and that fits into `have` bytes; the smallest if none does."""
    sizes = {name: needed(preset, device=device) for name, preset in PRESETS.items() if not missing(preset)}
    fitting = [name for name, size in sizes.items() if size <= have]
    return max(fitting, key=sizes.get) if fitting else min(PRESETS, key=lambda name: needed(PRESETS[name]))


def missing(preset: Preset) -> list[str]:
    """What a preset lacks on this machine and how to get it, a text each; nothing is fetched or loaded."""
    sources = [source for source in (preset.llm, preset.adapter, preset.caption_adapter) if source]
    imports = [source.partition("/")[0] if source.startswith("cache:") else source for source in sources]
    lines = [sentence for source in dict.fromkeys(imports) if (sentence := _absence(source))]
    vision = preset.vision
    if vision is not None and vision.weights == "openai":
        if not _stored_clip(preset) and _hub_folder(CLIP_REPOSITORY) is None:
            lines.append("OpenAI's CLIP ViT-L/14 would be fetched from the Hub.")
    elif vision is not None and vision.weights and (sentence := _absence(vision.weights)):
        lines.append(sentence)
    return lines


def local(source: str) -> Path | None:
    """The path of a weight source that is on this machine, None where it is not; nothing is fetched."""
    if _on_hub(source):
        return _hub_folder(source)
    try:
        return weights.find(source)
    except LAV2Error:
        return None


def table(device: str) -> str:
    """Every preset with its sources, licence terms, memory and whether it can run here now."""
    have, dtype = free(device), precision(device)
    blocks = []
    for preset in PRESETS.values():
        need, lacks = needed(preset, dtype, device=device), missing(preset)
        if need > have:
            lacks.append(f"It needs {need / 1e9:.1f} GB, {device} has {have / 1e9:.1f} GB free.")
        encoder = f"{preset.vision.name} ({preset.vision.weights})" if preset.vision else "none"
        rows = {
            "language model": preset.llm,
            "image encoder": encoder,
            "adapters": f"{preset.adapter} (chat), {preset.caption_adapter} (captions)",
            "licence": preset.licence,
            "memory": f"{need / 1e9:.1f} GB in {dtype} ({device}: {have / 1e9:.1f} GB free)",
            "runs here now": "no: " + " ".join(lacks) if lacks else "yes",
        }
        lines = [f"  {name + ':':16}{value}" for name, value in rows.items()]
        blocks.append("\n".join([f"{preset.name}: {preset.title}", *lines]))
    return "\n\n".join(blocks)


def _absence(source: str) -> str | None:
    if _on_hub(source):
        return None if _hub_folder(source) else f"{source} would be fetched from the Hub."
    try:
        weights.find(source)
    except LAV2Error as error:
        return str(error)
    return None


def _on_hub(source: str) -> bool:
    known = source.startswith(("package:", "assets:", "cache:", "/", ".", "~"))
    return not known and source.count("/") == 1 and not Path(source).exists()


def _hub_folder(repository: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    for name in ("config.json", "open_clip_config.json"):
        found = try_to_load_from_cache(repository, name)
        if isinstance(found, str):
            return Path(found).parent
    return None


def _stored_clip(preset: Preset) -> bool:
    """Whether an import named a file of its own for the image encoder (`import --clip`)."""
    folder = local(preset.adapter) if preset.adapter else None
    if folder is None:
        return False
    config = files.read_json(folder / "config.json")
    vision = config.get("vision") if isinstance(config, dict) else None  # checkpoint.py tells what is wrong with it
    return isinstance(vision, dict) and vision.get("weights") != "openai"
