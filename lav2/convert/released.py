"""Files of other makers into this project's: LLaMA in Meta's format, adapters as OpenGVLab released them.

One import makes a folder: `adapter.safetensors` and `config.json` (lav2.model.checkpoint) and `llm/`, the frozen model
as transformers reads it. What the released code computes is in arXiv 2304.15010 and 2303.16199; where it departs from
the papers is said here, at the place that follows it.

Kinds of adapter files, told apart by their tensors:
    multimodal  V2, {"model", "config": {"w_bias", "w_lora", "lora_rank"}}: BIAS-7B, LORA-BIAS-7B, CAPTION-7B ...
    chat        V2 chat, {"model"}: bias and scale on every linear layer, the scale on its input; text only
    v1          V1, prompts and gates alone; text only
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from lav2.config import CLIP_VIT_L_14_BGR, PRESETS, RELEASED_PROMPT_LENGTH, ProjectorConfig, VisionConfig
from lav2.convert.adapters import read_adapter
from lav2.convert.llama import convert_llama
from lav2.errors import LAV2Error
from lav2.model import checkpoint, preflight
from lav2.model.adapted import AdaptedLlama
from lav2.model.llm import base_identity, load_llm
from lav2.model.vision import VisionTower

LLM = "llm"  # the frozen model's folder inside an import


def import_released(
    llama: Path,
    adapter: Path,
    out: Path,
    *,
    base: Path | None = None,
    vision: VisionConfig = CLIP_VIT_L_14_BGR,
    projector_heads: int = ProjectorConfig.heads,
    prompt_length: int = RELEASED_PROMPT_LENGTH,
    report: Callable[[str], None] = print,
) -> None:
    """Make `out` from a base model and a released adapter file; what `python -m lav2 import` calls.

    Args:
        llama: Meta's folder (params.json, consolidated.NN.pth, tokenizer.model here or one folder up; or the folder
            above one such folder) or a folder of transformers.
        adapter: the `.pth`.
        base: where the converted base model goes, so that several imports share it; `out/llm` by default. What is
            there already is used as it is.
        vision: the image encoder that the adapter was trained on.
        projector_heads: attention heads of the visual projection, which no tensor's shape tells.
        prompt_length: K of a text-only adapter, which no tensor's shape tells.

    Raises:
        LAV2Error: a file is missing or damaged, or the adapter does not fit the base model, or the file of the image
            encoder is another's.
    """
    if vision.weights and Path(vision.weights).is_file():
        VisionTower(vision)  # a wrong file of CLIP is told now, not at the first question
    out.mkdir(parents=True, exist_ok=True)
    if (llama / "config.json").exists():
        folder = llama
    else:
        folder = base or out / LLM
        if not folder.exists():
            convert_llama(llama, folder, report)
    link = out / LLM
    if folder.resolve() != link.resolve():
        if link.exists() and not link.is_symlink():
            raise LAV2Error(f"{link} already holds another base model.", "Choose another --out, or remove it.")
        link.unlink(missing_ok=True)
        link.symlink_to(folder.resolve(), target_is_directory=True)
    report(preflight.check(replace(PRESETS["llama-7b-bias"], llm=str(folder)), "float16", training=True))
    llm, tokenizer = load_llm(str(folder), torch.float16)
    identity = base_identity(llm, tokenizer, llama.resolve().name)
    found = read_adapter(adapter, llm.config, projector_heads, prompt_length)
    model = AdaptedLlama(llm, found.config, found.projector, vision if found.projector else None)
    notes = {"source": adapter.name, "kind": found.kind, "channel_order": vision.channel_order}
    checkpoint.write(model, found.tensors, out, identity, notes)
    report(f"{out}: {found.kind} adapter {adapter.name}, {len(found.tensors)} tensors, on {folder}")
