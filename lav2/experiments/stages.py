"""An experiment as recipes (lav2.recipe): one of what all arms share, and one for each arm and seed.

shared/: the same captions, questions and findings for every arm. ARM-SEED/: `train` (before it `visual`, where the
groups are trained in turn) and `evaluate`, whose result.json is the run's measurement.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from lav2 import files, recipe, weights
from lav2.experiments.claims import BARE, GROUNDED, Arm, Experiment
from lav2.recipe import ADAPTER, Recipe, Run, Stage, Work

RESULT = "result.json"
MEASURES = ("caption loss", "captions", "everyday off", "everyday on", "human off", "human on")  # off, on: the experts
EVERYDAY, HUMAN, PHOTOS = "../everyday/questions.jsonl", "qa/photo_qa_own.jsonl", "photos/coco"  # below the data folder
OFF, ON = "none", "all"  # arms of lav2.evaluation

# Kinds of questions that a photo answers without text of experts (lav2.documents.photo_questions, lav2.instruct).
SEEN = {"vqa", "statement", "missing", "described", "person", "colour", "done", "where", "scene", "animal", "worn",
        "held", "presence", "count", "which", "short", "detail", "action", "spatial", "refusal"}  # fmt: skip

# Estimates of one core, as those of lav2.recipe: tokens of a batch of captions and of questions (6 rows each, counted),
# seconds of a warm step and of a photo through all experts; of an answer, a caption and a loaded model (measured).
CAPTION_TOKENS, QUESTION_TOKENS = 425, 1425
WARM_STEP, EXPERTS_PHOTO, ANSWER, CAPTION, LOADED = 0.7, 6.0, 0.35, 0.12, 10.0
EVERYDAY_PICTURES, EVERYDAY_QUESTIONS, HUMAN_QUESTIONS = 63, 121, 4.4  # the last one of a photo


def shared_recipe(experiment: Experiment) -> Recipe:
    """What all arms are trained on and measured with."""
    made = {stage.name: stage for stage in recipe.EMBEDDED.stages}
    photos = EVERYDAY_PICTURES + experiment.evaluate["human"]
    encoded = experiment.sizes["learned"] + experiment.sizes["scored"]
    stages = (
        replace(made["rows"], settings=dict(experiment.rows)),
        made["plain"],
        Stage("data", "the same captions and questions for every arm", _select,
              ("data:captions.jsonl", "made:rows/mix.jsonl", "made:plain/chat.json"),
              ("captions.jsonl", "scored.jsonl", GROUNDED, BARE), dict(experiment.sizes),
              work=Work(seconds=encoded / recipe.LOOKS)),
        Stage("findings", "what the experts find on the photos that questions are asked about",
              lambda run, stage: _look(run, stage, experiment),
              (f"data:{EVERYDAY}", f"data:{HUMAN}"), ("findings.jsonl",),
              {"human": experiment.evaluate["human"], "experts": list(experiment.experts)},
              work=Work(seconds=LOADED + EXPERTS_PHOTO * photos)),
    )  # fmt: skip
    return Recipe(f"{experiment.name}, shared", experiment.preset, experiment.preset.vision, stages, _RESTART)


def arm_recipe(experiment: Experiment, arm: Arm, steps: int) -> Recipe:
    """The training of an arm, `steps` optimiser steps in all, and its measurement."""
    captions, questions = "made:../shared/data/captions.jsonl", f"made:../shared/data/{arm.instructions}"
    how = {**experiment.train, **arm.train, "adapter": dict(arm.adapter)}
    warm = Work(seconds=how["warm_steps"] * WARM_STEP)
    at_once = 768
    if arm.in_turn:
        second = {name: value for name, value in how.items() if name not in ("warm_steps", "adapter")}
        training = (
            Stage("visual", "the visual group, from captions (stage pretrain)", recipe.train_adapter,
                  ("llm", "vision", captions), ADAPTER, {**how, "stage": "pretrain", "steps": (steps + 1) // 2},
                  work=replace(warm, tokens=CAPTION_TOKENS, at_once=at_once)),
            Stage("train", "then the language group, from questions (stage finetune)", recipe.train_adapter,
                  ("llm", "vision", "made:visual/adapter.safetensors", questions), ADAPTER,
                  {**second, "stage": "finetune", "steps": steps // 2, "init": "visual"},
                  work=Work(tokens=QUESTION_TOKENS, at_once=at_once)),
        )  # fmt: skip
    else:
        mean = (CAPTION_TOKENS + QUESTION_TOKENS) / 2
        training = (
            Stage("train", arm.title, recipe.train_adapter, ("llm", "vision", captions, questions), ADAPTER,
                  {"stage": "joint", **how, "steps": steps}, work=replace(warm, tokens=mean, at_once=at_once)),
        )  # fmt: skip
    asked = EVERYDAY_QUESTIONS + HUMAN_QUESTIONS * experiment.evaluate["human"]
    seconds = LOADED + 2 * ANSWER * asked + CAPTION * experiment.sizes["scored"]
    measured = Stage(
        "evaluate", "captions, everyday and human questions, experts off and on", _evaluate,
        ("llm", "vision", "made:train/adapter.safetensors", "made:../shared/data/scored.jsonl",
         "made:../shared/findings/findings.jsonl", f"data:{EVERYDAY}", f"data:{HUMAN}"),
        (RESULT,), dict(experiment.evaluate), work=Work(seconds=seconds))  # fmt: skip
    preset = experiment.preset
    return Recipe(f"{experiment.name}, {arm.name}", preset, preset.vision, (*training, measured), _RESTART)


_RESTART = "delete the folder of that run"


def _select(run: Run, stage: Stage) -> dict[str, Any]:
    rng, out = random.Random(run.seed), run.out / stage.name
    captions = [row for _, row in files.json_rows(run.data / "captions.jsonl")]
    rng.shuffle(captions)
    learned = [row for row in captions if row.get("split", "train") == "train"][: stage.settings["learned"]]
    scored = [row for row in captions if row.get("split") == "val"][: stage.settings["scored"]]
    questions = [_moved(row, run.out / "rows", out) for _, row in files.json_rows(run.out / "rows/mix.jsonl")]
    chat = [row for row in files.read_json(run.out / "plain/chat.json") if row["split"] == "train"]
    chat = rng.sample(chat, min(len(chat), stage.settings["chat"]))
    bare = [row for row in map(without_findings, questions) if row]
    written = {"captions.jsonl": [_moved(row, run.data, out) for row in learned],
               "scored.jsonl": [_moved(row, run.data, out) for row in scored],
               GROUNDED: questions + chat, BARE: bare + chat}  # fmt: skip
    for name, rows in written.items():
        files.write_text(out / name, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return {name: len(rows) for name, rows in written.items()}


def without_findings(row: Mapping[str, Any]) -> dict[str, Any] | None:
    """A row of questions without experts' text; None if nothing is left that the photo answers."""
    if row["image"] is None:
        return None
    bare = {**row, "evidence": {}, "experts": []}
    if "questions" in row:
        bare["questions"] = [asked for asked in row["questions"] if asked["kind"] in SEEN]
        return bare if bare["questions"] else None
    return bare if row["kind"] in SEEN else None


def _moved(row: Mapping[str, Any], folder: Path, out: Path) -> dict[str, Any]:
    """A row of a file in `folder` for one in `out`: photos are named relative to their file."""
    return {**row, "image": row["image"] and os.path.relpath(folder / row["image"], out)}


def _look(run: Run, stage: Stage, experiment: Experiment) -> dict[str, Any]:
    from lav2.assistant.service import Assistant
    from lav2.errors import LAV2Error
    from lav2.evaluation import record
    from lav2.evaluation.runner import EvaluationRunner

    out, wanted = run.out / stage.name, list(dict.fromkeys(row.image for rows in _asked(run, stage) for row in rows))
    listed = "".join(json.dumps({"image": os.path.relpath(image, out)}) + "\n" for image in wanted)
    files.write_text(out / "photos.jsonl", listed)
    found = out / stage.outputs[0]
    loaded = Assistant.load(experiment.reader, device=run.device, report=run.report)
    runner = EvaluationRunner(loaded, _cache(run))
    record.record(runner, out / "photos.jsonl", found, experiment.experts, report=run.report)
    looked = sum(1 for _ in files.json_rows(found))
    if looked < len(wanted):
        cause, step = "Experts failed on {count} of {all} photos.", "See the lines above, and run the command again."
        raise LAV2Error(cause, step, count=len(wanted) - looked, all=len(wanted))
    return {"photos": looked}


def _asked(run: Run, stage: Stage):
    """The everyday and the human questions, without findings."""
    from lav2.evaluation import natural

    human = natural.human_rows(run.data / HUMAN, run.data / PHOTOS, limit=stage.settings["human"])
    return natural.everyday_rows(run.data / EVERYDAY), human


def _evaluate(run: Run, stage: Stage) -> dict[str, Any]:
    from lav2.assistant.service import Assistant
    from lav2.captioning.writer import Captioning
    from lav2.evaluation import natural, record, report, tasks
    from lav2.evaluation.runner import EvaluationRunner
    from lav2.experiments.caption_loss import caption_loss
    from lav2.metrics.captions import cider_d, read_references
    from lav2.metrics.tokens import coco_tokens
    from lav2.model import preflight
    from lav2.training import run_folder

    adapter, shared, limit = str(run.out / "train"), run.out.parent / "shared", stage.settings["human"]
    images = [row.image for rows in _asked(run, stage) for row in rows]
    found = record.read_record(shared / "findings/findings.jsonl", images)
    preset = replace(run.preset, adapter=adapter, caption_adapter=adapter)
    loaded = Assistant.load(preset, device=run.device, report=run.report)
    runner = EvaluationRunner(loaded, _cache(run), max_new_tokens=stage.settings["max_new_tokens"],
                              captioning=Captioning(drafts=0, beams=1), report=run.report)  # fmt: skip
    scored = shared / "data/scored.jsonl"
    captions, said = tasks.captions(runner, scored)
    truths = read_references(scored, "val")
    each = cider_d([coco_tokens(text) for text in said.values()],
                   [[coco_tokens(text) for text in truths[name]] for name in said])  # fmt: skip
    everyday, everyday_rows = natural.everyday(runner, run.data / EVERYDAY, (OFF, ON), found=found)
    human, human_rows = natural.human(runner, run.data / HUMAN, run.data / PHOTOS, (OFF, ON), limit=limit, found=found)
    expected = caption_loss(preset, run.out / "train", scored, _cache(run), preflight.device(run.device))
    items = {"caption loss": expected, "captions": [float(value) for value in each]}
    for name, rows in (("everyday", everyday_rows), ("human", human_rows)):
        for state, arm in (("off", OFF), ("on", ON)):
            items[f"{name} {state}"] = [float(row["right"][arm]) for row in rows]
    scores = {name: sum(values) / len(values) for name, values in items.items()}
    written = report.report(
        runner, ["experiment", run.recipe.name], run.seed, scored, scores=scores, items=items,
        details={"captions": captions, "everyday": everyday, "human": human},
        captions=said, everyday=everyday_rows, human=human_rows,
    )  # fmt: skip
    report.write(written, run.out / stage.name / RESULT)
    for folder in ("visual", "train"):  # of no use any more, and larger than the adapter
        (run.out / folder / run_folder.STATE).unlink(missing_ok=True)
    return scores


def _cache(run: Run) -> Path:
    return run.cache or weights.cache_dir() / "features"
