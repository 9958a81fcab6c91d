"""The stages of the embedded default: each calls what its own command of `python -m lav2` calls."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

from lav2 import config, files, weights
from lav2.model import preflight
from lav2.recipe.manifest import manifest_hash, read_manifest
from lav2.recipe.stage import Recipe, Run, Stage, Work


def _encoder(run: Run, stage: Stage) -> dict[str, Any]:
    import torch

    from lav2.instruct.photos import read_photos
    from lav2.training import encoder
    from lav2.training.regions import read_regions
    from lav2.training.settings import EncoderConfig

    out, settings = run.out / stage.name, dict(stage.settings)
    dtype, record = settings.pop("dtype"), out / "encoder.json"
    if not record.exists() or (out / encoder.STATE).exists():  # else it ended, and only the manifest does not know
        learned, held = (read_photos(run.tables(stage), run.data, split) for split in ("train", "val"))
        torch.manual_seed(run.seed)
        encoder_config = EncoderConfig(seed=run.seed, **settings)
        (phrases,) = run.paths("data:entities_flickr8k.jsonl.gz").values()
        encoder.tune(
            run.recipe.vision, learned, held, out, encoder_config, preflight.device(run.device), dtype, run.report,
            read_regions(phrases, run.data),
        )  # fmt: skip
    scores: dict[str, Any] = files.read_json(record)["validation"]
    return scores


def train_adapter(run: Run, stage: Stage) -> dict[str, Any]:
    """Train an adapter, or go on with it; the stage's settings are those of lav2.training.run, `init` a stage."""
    from lav2.model import checkpoint
    from lav2.training import run as training
    from lav2.training import run_folder
    from lav2.training.settings import RunConfig, TrainConfig

    out, settings = run.out / stage.name, dict(stage.settings)
    init, changes = settings.pop("init", None), settings.pop("adapter", {})
    run_options = {
        name: settings.pop(name) for name in ("views", "warm_steps", "gate_init", "dtype") if name in settings
    }
    tuned = ENCODER.removeprefix("made:") if ENCODER in stage.inputs else None
    training.run(
        replace(run.preset, adapter_config=replace(run.preset.adapter_config, **changes)),
        TrainConfig(seed=run.seed, **settings),
        run.tables(stage),
        out,
        RunConfig(
            init=run.out / init if init else None,
            encoder=str(run.out / tuned) if tuned else None,
            cache=run.cache,
            device=run.device,
            resume=(out / run_folder.STATE).exists(),
            **run_options,
        ),
        run.report,
    )
    history = checkpoint.read_notes(out)["validation"]
    return {"validation loss": history[-1] if history else {}}


def _judge(run: Run, stage: Stage) -> dict[str, Any]:
    from lav2.model import checkpoint
    from lav2.training import reranker
    from lav2.training.settings import PhrasesConfig

    out = run.out / stage.name
    lines: list[str] = []
    checkpoint.export(run.out / "captioner", out)
    phrases_config = PhrasesConfig(cache=run.cache, seed=run.seed, device=run.device, **stage.settings)
    reranker.learn_phrases(out, run.tables(stage), phrases_config, lines.append)
    for line in lines:
        run.report(line)
    losses = re.findall(r"other photos: ([\d.]+)", "\n".join(lines))
    return {"validation loss": float(losses[-1]) if losses else None}


def _rows(run: Run, stage: Stage) -> dict[str, Any]:
    from lav2.documents import mix
    from lav2.instruct import command

    out = run.out / stage.name
    if any(out.iterdir()):  # files of an interrupted try, whole or not
        files.remove(out)
    shares = [word for name, value in stage.settings.items() for word in (f"--{name}", str(value))]
    mix.main(["--data", str(run.data), "--out", str(out), "--seed", str(run.seed), *shares])
    photos = [str(run.data / name) for name in mix.TEMPLATE_FILES]
    presence = str(out / "presence.jsonl")
    command.main([*photos, "--root", str(run.data), "--out", presence, "--presence", "--seed", str(run.seed)])
    return {name: sum(1 for _ in (out / name).open("rb")) for name in stage.outputs}


def _answers(run: Run, stage: Stage) -> dict[str, Any]:
    from lav2.documents import candidates
    from lav2.model import checkpoint

    out = run.out / stage.name
    checkpoint.export(run.out / "judge", out)
    rows = [run.out / "rows" / name for name in ("docs.jsonl", "photos.jsonl", "presence.jsonl")]
    share, questions = candidates.teach(run.data, rows, out, run.report, run.preset.llm)
    return {"accuracy of the likeliest": round(share, 4), "questions": questions}


def _plain(run: Run, stage: Stage) -> dict[str, Any]:
    from lav2.training import distil

    file = run.out / stage.name / stage.outputs[0]
    distil.distil(run.preset, weights.find("assets:plain_prompts.txt"), file, run.device, run.report)
    return {"answers": len(files.read_json(file))}


def _reader(run: Run, stage: Stage) -> dict[str, Any]:
    from lav2.documents import reader
    from lav2.model import checkpoint

    out = run.out / stage.name
    checkpoint.export(run.out / "chat", out)
    return reader.teach(out, sets=run.data / "qa", seed=run.seed, llm=run.preset.llm, epochs=stage.settings["epochs"])


def _export(run: Run, stage: Stage) -> dict[str, Any]:
    from lav2.model import checkpoint

    mark = {"recipe": run.recipe.name, "manifest": manifest_hash(read_manifest(run.out) or {})}
    for name, source in (("caption", "answers"), ("chat", "reader")):
        folder = run.out / stage.name / name
        checkpoint.export(run.out / source, folder)
        settings = files.read_json(folder / checkpoint.CONFIG)
        settings["notes"] |= mark
        files.write_text(folder / checkpoint.CONFIG, json.dumps(settings, indent=1) + "\n")
    return {}


def _evaluate(run: Run, stage: Stage) -> dict[str, Any]:
    from lav2.assistant.service import Assistant
    from lav2.evaluation import report, tasks
    from lav2.evaluation.runner import EvaluationRunner

    chat, captioner = (str(run.out / "export" / name) for name in ("chat", "caption"))
    preset = replace(run.preset, adapter=chat, caption_adapter=captioner)
    loaded = Assistant.load(preset, device=run.device, report=run.report)
    runner = EvaluationRunner(
        loaded, run.cache or weights.cache_dir() / "features", captioning=loaded.captioner.settings
    )
    data = run.data / "captions.jsonl"
    scores, captions = tasks.captions(runner, data, split="val", limit=stage.settings["limit"])
    written = report.report(runner, ["recipe", run.recipe.name], run.seed, data, scores=scores, captions=captions)
    report.write(written, run.out / stage.name / stage.outputs[0])
    return scores


ENCODER = "made:encoder/encoder.safetensors"
FROZEN = ("llm", ENCODER, "data:captions.jsonl", "data:photos")
ADAPTER = ("config.json", "adapter.safetensors")
EMBEDDED = Recipe("embedded", config.EMBEDDED, config.EFFICIENTNET_LITE2, (
    Stage("encoder", "the image encoder, tuned on words of captions and kinds in boxes", _encoder,
          ("vision", "data:captions.jsonl", "data:captions_new.jsonl", "data:boxes.jsonl", "data:boxes_new.jsonl",
           "data:boxes_flickr8k_merged.jsonl", "data:teacher_boxes.jsonl", "data:entities_flickr8k.jsonl.gz",
           "data:photos"),
          ("encoder.safetensors", "encoder.json"),
          {"epochs": 5, "batch": 32, "lr": 2.5e-4, "drop_path": 0.15, "dtype": "bfloat16"}, version=2,
          work=Work(lessons=5)),
    Stage("start", "the visual group's beginning, from captions (stage pretrain)", train_adapter, FROZEN, ADAPTER,
          {"stage": "pretrain", "steps": 400, "batch": 24, "warm_steps": 300, "views": 2, "dtype": "bfloat16"},
          work=Work(tokens=341, at_once=400, looks=2, seconds=200)),
    Stage("captioner", "the captioner: the whole adapter, from captions (stage caption)", train_adapter,
          (*FROZEN, "made:start/adapter.safetensors"), ADAPTER,
          {"stage": "caption", "init": "start", "steps": 4000, "batch": 12, "together": 2, "views": 4, "lr": 8e-4,
           "gate_lr": 1e-2, "dtype": "bfloat16"}, work=Work(tokens=341, at_once=400, looks=2)),
    Stage("judge", "the reranker of the captioner's drafts", _judge,
          ("made:captioner/adapter.safetensors", *FROZEN[1:]), (*ADAPTER, "phrases.safetensors"), {"views": 2},
          work=Work(seconds=120)),
    Stage("rows", "questions and answers: made-up documents, question sets, photos", _rows,
          ("data:captions*.jsonl", "data:boxes.jsonl", "data:boxes_new.jsonl", "data:teacher_boxes.jsonl",
           "data:entities_flickr8k.jsonl.gz", "data:qa/*.jsonl", "data:photos", "assets:encoder/encoder.safetensors",
           "assets:detector/colours.json", "assets:documents"),
          ("docs.jsonl", "photos.jsonl", "mix.jsonl", "presence.jsonl"),
          {"documents": 1750, "known": 650, "human": 750, "tied": 450, "templates": 1500},
          version=2, work=Work(looks=1, seconds=1200)),
    Stage("answers", "the caption expert's candidates for answers", _answers,
          ("made:judge/adapter.safetensors", "made:judge/phrases.safetensors", "made:rows/docs.jsonl",
           "made:rows/photos.jsonl", "made:rows/presence.jsonl", "data:qa/*.jsonl", "data:photos"),
          (*ADAPTER, "phrases.safetensors", "answers.safetensors"), work=Work(seconds=300)),
    Stage("plain", "the frozen model's own answers, which keep it able to chat", _plain,
          ("llm", "assets:plain_prompts.txt"), ("chat.json",), work=Work(seconds=240)),
    Stage("chat", "the chat adapter: captions to the visual group, questions to the language group (stage joint)",
          train_adapter,
          (*FROZEN, "made:rows/presence.jsonl", "made:rows/mix.jsonl", "made:plain/chat.json", "assets:identity.json"),
          ADAPTER,
          {"stage": "joint", "steps": 2000, "batch": 6, "accumulate": 3, "together": 10, "warm_steps": 300, "views": 2,
           "dtype": "bfloat16", "adapter": {"lora_rank": 32, "proof_first": True}},
          work=Work(tokens=925, at_once=768, looks=1, seconds=200)),
    Stage("reader", "the reader of texts: which row and words answer, and yes or no", _reader,
          ("llm", "assets:documents", "data:qa/*.jsonl", "made:chat/adapter.safetensors"),
          (*ADAPTER, "reader.safetensors"), {"epochs": 1.0}, version=3, work=Work(seconds=16000)),
    Stage("export", "both adapters in float16, with the manifest's hash", _export,
          ("made:answers/adapter.safetensors", "made:answers/answers.safetensors", "made:reader/adapter.safetensors",
           "made:reader/reader.safetensors"),
          (*(f"caption/{name}" for name in (*ADAPTER, "phrases.safetensors", "answers.safetensors")),
           *(f"chat/{name}" for name in (*ADAPTER, "reader.safetensors")))),
    Stage("evaluate", "captions of the photos of the split val, scored", _evaluate,
          (*FROZEN, "made:export/caption/adapter.safetensors", "made:export/caption/phrases.safetensors"),
          ("captions.json",), {"limit": None}, work=Work(seconds=1800), optional=True),
))  # fmt: skip
RECIPES = {recipe.name: recipe for recipe in (EMBEDDED,)}
