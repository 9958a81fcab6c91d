"""`python -m lav2 recipe`: a preset's weights from nothing, stage by stage, and one manifest of how they were made.

A recipe is a table of stages. Each one calls what its own command of `python -m lav2` calls, and writes into its own
folder. manifest.json tells of each stage its settings, seed and inputs, when and where it ran, what came out and how
good it is. A stage that is done is skipped and one that was interrupted goes on, but only with the settings and inputs
that it was begun with; a change is refused, as lav2.training.run_folder refuses it.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import json
import os
import platform
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lav2 import config, files, weights
from lav2.config import Preset, VisionConfig
from lav2.errors import LAV2Error
from lav2.model import preflight
from lav2.options import add_options, command_parser, setting

MANIFEST, LOCK = "manifest.json", ".lock"
FORMAT = 1
BEGUN, DONE = "begun", "done"

# What --dry-run estimates by: one CPU core with bfloat16 products (a Xeon with AMX), nothing else running. A step of
# six joined rows of questions (1,425 tokens with padding) took 7 s there, 8 to 11 beside other work (docs/LOG.md).
TOKENS = 245  # per second, forward and back
STEP = 1.0  # s that a step takes beside its tokens: the optimizer, the projector
LOOKS = 11  # photos per second through the frozen image encoder (22 on both cores, docs/LOG.md)
LESSONS = 5  # the same, forward and back (887 steps of 32 in 45 minutes of two cores, assets/encoder/README.md)
PARAMETERS = 134.5e6  # of the language model that this was measured with: others take as much longer as they are larger
ROW_BYTES = 2.5e9 / 384  # memory of a token that is learned from (docs/training.md)


@dataclass(frozen=True)
class Work:
    """What a stage costs, for the estimate; counted on the data of assets/*/README.md."""

    tokens: float = 0  # of an optimiser step
    at_once: float = 0  # tokens that go through the language model together
    looks: float = 0  # views of each photo that are encoded for the first time
    lessons: float = 0  # times that the image encoder learns from each photo
    seconds: float = 0  # anything else


@dataclass(frozen=True)
class Stage:
    """One line of a recipe.

    `inputs`: what it reads: `data:` below --data (* for several files), `made:` by an earlier stage, `llm`, `vision`,
    or a source of lav2.weights.
    """

    name: str  # of its folder too
    title: str
    make: Callable[[Run, Stage], dict[str, Any]]  # returns its score
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]  # files of its folder that later stages or users need
    settings: Mapping[str, Any] = field(default_factory=dict)  # all but the seed
    version: int = 1  # of its code: one more whenever the same inputs would give something else
    work: Work = Work()
    optional: bool = False  # runs only where it is asked for


@dataclass(frozen=True)
class Recipe:
    """The stages in their order."""

    name: str
    preset: Preset  # whose frozen models are used
    vision: VisionConfig  # the image encoder to start from
    stages: tuple[Stage, ...]
    restart: str = "make it and all behind it anew with --from {stage}"  # the user's way to do that


@dataclass(frozen=True)
class Run:
    """Where a recipe is run, and on what."""

    recipe: Recipe
    preset: Preset  # the recipe's, or that on another language model (lav2.model.llm.preset_on)
    data: Path  # folder
    out: Path  # folder of the stages' folders and of the manifest
    seed: int = setting(0, "of every stage")
    device: str | None = setting(None, "cpu, cuda, cuda:1 ... (default: what is there)")
    cache: Path | None = setting(None, "folder of cached image features (default: the user's cache)", metavar="FOLDER")
    report: Callable[[str], None] = print

    def paths(self, source: str) -> dict[str, Path]:
        """The files that an input of a stage stands for, by their names in the manifest; LAV2Error without any."""
        kind, _, name = source.partition(":")
        if kind == "data":
            found = sorted(self.data.glob(name))
            if not found:
                step = "Give the folder that has it as --data."
                raise LAV2Error("The data folder {folder} has no {name}.", step, folder=self.data, name=name)
            return {f"data:{path.relative_to(self.data)}": path for path in found}
        if kind == "made":
            return {source: self.out / name}
        where = {"llm": self.preset.llm, "vision": self.recipe.vision.weights}.get(source, source)
        return {source: weights.find(where)} if where else {}

    def stages(self, evaluate: bool) -> list[Stage]:
        """Those that run; the optional ones only if `evaluate`."""
        return [stage for stage in self.recipe.stages if evaluate or not stage.optional]

    def tables(self, stage: Stage) -> list[Path]:
        """The inputs of a stage that hold rows to learn from."""
        every = [path for source in stage.inputs for path in self.paths(source).values()]
        return [path for path in every if path.suffix in (".json", ".jsonl")]


# --- the stages ----------------------------------------------------------------------------------------------


def _encoder(run: Run, stage: Stage) -> dict[str, Any]:
    import torch

    from lav2.instruct.photos import read_photos
    from lav2.training import encoder

    out, settings = run.out / stage.name, dict(stage.settings)
    dtype, record = settings.pop("dtype"), out / "encoder.json"
    if not record.exists() or (out / encoder.STATE).exists():  # else it ended, and only the manifest does not know
        learned, held = (read_photos(run.tables(stage), run.data, split) for split in ("train", "val"))
        torch.manual_seed(run.seed)
        how = encoder.EncoderConfig(seed=run.seed, **settings)
        encoder.tune(run.recipe.vision, learned, held, out, how, preflight.device(run.device), dtype, run.report)
    return files.read_json(record)["validation"]


def train_adapter(run: Run, stage: Stage) -> dict[str, Any]:
    """Train an adapter, or go on with it; the stage's settings are those of lav2.training.run, `init` a stage."""
    from lav2.model import checkpoint
    from lav2.training import run as training
    from lav2.training import run_folder
    from lav2.training.settings import RunConfig, TrainConfig

    out, settings = run.out / stage.name, dict(stage.settings)
    init, changes = settings.pop("init", None), settings.pop("adapter", {})
    how = {name: settings.pop(name) for name in ("views", "warm_steps", "gate_init", "dtype") if name in settings}
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
            **how,
        ),
        run.report,
    )
    history = checkpoint.read_notes(out)["validation"]
    return {"validation loss": history[-1] if history else {}}


def _judge(run: Run, stage: Stage) -> dict[str, Any]:
    from lav2.model import checkpoint
    from lav2.training import reranker
    from lav2.training.settings import PhrasesConfig

    out, told = run.out / stage.name, []
    checkpoint.export(run.out / "captioner", out)
    how = PhrasesConfig(cache=run.cache, seed=run.seed, device=run.device, **stage.settings)
    reranker.learn_phrases(out, run.tables(stage), how, told.append)
    for line in told:
        run.report(line)
    losses = re.findall(r"other photos: ([\d.]+)", "\n".join(told))
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


def _plain(run: Run, stage: Stage) -> dict[str, Any]:
    from lav2.training import distil

    file = run.out / stage.name / stage.outputs[0]
    distil.distil(run.preset, weights.find("assets:plain_prompts.txt"), file, run.device, run.report)
    return {"answers": len(files.read_json(file))}


def _export(run: Run, stage: Stage) -> dict[str, Any]:
    from lav2.model import checkpoint

    mark = {"recipe": run.recipe.name, "manifest": manifest_hash(read_manifest(run.out))}
    for name, source in (("caption", "judge"), ("chat", "chat")):
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
    runner = EvaluationRunner(loaded, run.cache or weights.cache_dir() / "features", captioning=loaded.captioning)
    data = run.data / "captions.jsonl"
    scores, said = tasks.captions(runner, data, split="val", limit=stage.settings["limit"])
    written = report.report(runner, ["recipe", run.recipe.name], run.seed, data, scores=scores, captions=said)
    report.write(written, run.out / stage.name / stage.outputs[0])
    return scores


ENCODER = "made:encoder/encoder.safetensors"
FROZEN = ("llm", ENCODER, "data:captions.jsonl", "data:photos")
ADAPTER = ("config.json", "adapter.safetensors")
EMBEDDED = Recipe("embedded", config.EMBEDDED, config.EFFICIENTNET_LITE2, (
    Stage("encoder", "the image encoder, tuned on words of captions and kinds in boxes", _encoder,
          ("vision", "data:captions.jsonl", "data:boxes.jsonl", "data:teacher_boxes.jsonl", "data:photos"),
          ("encoder.safetensors", "encoder.json"),
          {"epochs": 3, "batch": 32, "lr": 2.5e-4, "dtype": "bfloat16"}, work=Work(lessons=3)),
    Stage("start", "the visual group's beginning, from captions (stage pretrain)", train_adapter, FROZEN, ADAPTER,
          {"stage": "pretrain", "steps": 400, "batch": 24, "warm_steps": 300, "views": 2, "dtype": "bfloat16"},
          work=Work(tokens=341, at_once=400, looks=2, seconds=200)),
    Stage("captioner", "the captioner: the whole adapter, from captions (stage caption)", train_adapter,
          (*FROZEN, "made:start/adapter.safetensors"), ADAPTER,
          {"stage": "caption", "init": "start", "steps": 4000, "batch": 12, "together": 2, "views": 4, "lr": 8e-4,
           "gate_lr": 1e-2, "dtype": "bfloat16"}, work=Work(tokens=341, at_once=400, looks=2)),
    Stage("judge", "the judge of the captioner's drafts", _judge,
          ("made:captioner/adapter.safetensors", *FROZEN[1:]), (*ADAPTER, "phrases.safetensors"), {"views": 2},
          work=Work(seconds=120)),
    Stage("rows", "questions and answers: made-up documents, question sets, photos", _rows,
          ("data:captions*.jsonl", "data:boxes.jsonl", "data:boxes_new.jsonl", "data:teacher_boxes.jsonl",
           "data:entities_flickr8k.jsonl.gz", "data:qa/*.jsonl", "data:photos", "assets:encoder/encoder.safetensors",
           "assets:detector/colours.json"),
          ("mix.jsonl", "presence.jsonl"),
          {"documents": 1750, "known": 650, "human": 750, "tied": 450, "templates": 1500},
          work=Work(looks=1, seconds=300)),
    Stage("plain", "the frozen model's own answers, which keep it able to chat", _plain,
          ("llm", "assets:plain_prompts.txt"), ("chat.json",), work=Work(seconds=240)),
    Stage("chat", "the chat adapter: captions to the visual group, questions to the language group (stage joint)",
          train_adapter,
          (*FROZEN, "made:rows/presence.jsonl", "made:rows/mix.jsonl", "made:plain/chat.json", "assets:identity.json"),
          ADAPTER,
          {"stage": "joint", "steps": 2000, "batch": 6, "accumulate": 3, "together": 10, "warm_steps": 300, "views": 2,
           "dtype": "bfloat16", "adapter": {"lora_rank": 32}},
          work=Work(tokens=925, at_once=768, looks=1, seconds=200)),
    Stage("export", "both adapters in float16, with the manifest's hash", _export,
          ("made:judge/adapter.safetensors", "made:judge/phrases.safetensors", "made:chat/adapter.safetensors"),
          (*(f"caption/{name}" for name in (*ADAPTER, "phrases.safetensors")), *(f"chat/{name}" for name in ADAPTER))),
    Stage("evaluate", "captions of the photos of the split val, scored", _evaluate,
          (*FROZEN, "made:export/caption/adapter.safetensors", "made:export/caption/phrases.safetensors"),
          ("captions.json",), {"limit": None}, work=Work(seconds=1800), optional=True),
))  # fmt: skip
RECIPES = {recipe.name: recipe for recipe in (EMBEDDED,)}


# --- running -------------------------------------------------------------------------------------------------


def make(run: Run, start: str | None = None, evaluate: bool = False) -> dict[str, Any]:
    """Run a recipe, or go on with it; returns the manifest.

    Args:
        start: a stage that is made anew, and all behind it: what they made before is deleted.
        evaluate: run the optional stages too.

    Raises:
        LAV2Error: something is missing, or was made with other settings, inputs or code.
    """
    run.out.mkdir(parents=True, exist_ok=True)
    with _alone(run.out):
        manifest = read_manifest(run.out) or {"format": FORMAT, "recipe": run.recipe.name, "stages": {}}
        if start:
            _forget(run, manifest, start)
        for stage in run.stages(evaluate):
            entry, facts = manifest["stages"].get(stage.name), _facts(run, stage)
            folder = run.out / stage.name
            if entry:
                _check_same(run, stage, entry, facts)
            elif folder.exists() and any(folder.iterdir()):
                cause, step = "{folder} holds files that no run of this recipe has made.", "Choose another --out."
                raise LAV2Error(cause, step, folder=folder)
            if entry and entry["state"] == DONE:
                _check_outputs(run, stage, entry)
                run.report(f"{stage.name}: done before")
                continue
            started = datetime.now(UTC).isoformat(timespec="seconds")
            _make_stage(run, stage, manifest, entry or {**facts, "started": started, "seconds": 0.0})
    return manifest


def _make_stage(run: Run, stage: Stage, manifest: dict[str, Any], entry: dict[str, Any]) -> None:
    from lav2.assistant.loading import versions
    from lav2.evaluation.report import commit

    place = {"system": f"{platform.system()} {platform.machine()}", "cores": os.cpu_count(),
             "device": preflight.device(run.device)}  # fmt: skip
    entry |= {"state": BEGUN, "machine": place, "versions": versions(), "commit": commit()}
    before, begin = entry["seconds"], time.perf_counter()
    manifest["stages"][stage.name] = entry
    _write(run, manifest)
    run.report(f"{stage.name}: {stage.title}")
    (run.out / stage.name).mkdir(exist_ok=True)
    try:
        score = stage.make(run, stage)
        outputs = {name: identity(run.out / stage.name / name) for name in stage.outputs}
        entry |= {"state": DONE, "score": score, "outputs": outputs}
    finally:
        entry["seconds"] = round(before + time.perf_counter() - begin, 1)
        _write(run, manifest)


def identity(path: Path) -> dict[str, Any]:
    """Bytes and SHA-256 of a file; of a folder, such as that of the photos, SHA-256 of its files' names and sizes.

    Training compares photos by content as well, before it goes on (lav2.training).
    """
    if not path.exists():
        return {"bytes": 0, "sha256": "none"}
    if not path.is_dir():
        return {"bytes": path.stat().st_size, "sha256": files.digest(path)}
    sizes = {str(file.relative_to(path)): file.stat().st_size for file in path.rglob("*") if file.is_file()}
    listed = json.dumps(sorted(sizes.items())).encode()
    return {"files": len(sizes), "bytes": sum(sizes.values()), "sha256": hashlib.sha256(listed).hexdigest()}


def _facts(run: Run, stage: Stage) -> dict[str, Any]:
    """What must be the same for a stage to be skipped, or to go on; as JSON knows it."""
    inputs = {name: path for source in stage.inputs for name, path in run.paths(source).items()}
    model = {"vision": asdict(run.recipe.vision)} if "vision" in inputs else {}
    if "llm" in inputs:
        preset = asdict(run.preset)
        model |= {name: preset[name] for name in ("adapter_config", "projector", "template")}
    found = {"stage": stage.name, "version": stage.version, "settings": dict(stage.settings), "seed": run.seed,
             "model": model, "inputs": {name: identity(path) for name, path in inputs.items()}}  # fmt: skip
    return json.loads(json.dumps(found))


def _check_same(run: Run, stage: Stage, entry: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
    parts = ("settings", "model", "inputs")
    there, now = ({"version": told["version"], "seed": told["seed"]} | {
        name: value for part in parts for name, value in told[part].items()
    } for told in (entry, facts))  # fmt: skip
    names = sorted(name for name in there.keys() | now.keys() if there.get(name) != now.get(name))
    differing = [f"{name} ({_short(there.get(name))} there, {_short(now.get(name))} now)" for name in names]
    if differing:
        more = f" and {len(differing) - 3} more" if len(differing) > 3 else ""
        raise LAV2Error(
            f"The stage {stage.name} in {run.out} was {entry['state']} with something else; "
            f"what differs: {', '.join(differing[:3])}{more}.",
            f"Give that again, choose another --out, or {run.recipe.restart.format(stage=stage.name)}.",
        )


def _short(value: object) -> str:
    if isinstance(value, dict) and "sha256" in value:
        return f"{value['bytes']} bytes, SHA-256 {value['sha256'][:12]}"
    text = "nothing" if value is None else str(value)
    return text if len(text) <= 40 else text[:37] + "..."


def _check_outputs(run: Run, stage: Stage, entry: Mapping[str, Any]) -> None:
    for name, known in entry["outputs"].items():
        path = run.out / stage.name / name
        if identity(path) != known:
            step = f"Put that file back, or {run.recipe.restart}."
            raise LAV2Error("{path} is not the file that the stage {stage} made.", step, path=path, stage=stage.name)


def _forget(run: Run, manifest: dict[str, Any], start: str) -> None:
    """Delete what a stage and those behind it made; only folders that the manifest knows."""
    names = [stage.name for stage in run.recipe.stages]
    if start not in names:
        raise LAV2Error("There is no stage {name}.", "Choose of: {names}.", name=start, names=", ".join(names))
    for name in reversed(names[names.index(start) :]):
        if name in manifest["stages"]:
            files.remove(run.out / name)
            del manifest["stages"][name]
            _write(run, manifest)
    run.report(f"From {start} on everything is made anew. Should that be interrupted, go on without --from.")


@contextlib.contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Nobody else runs a recipe in the same folder meanwhile."""
    with (out / LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            step = "Wait until it ends, or choose another --out."
            raise LAV2Error("Another recipe runs in {out}.", step, out=out) from error
        yield


# --- the manifest --------------------------------------------------------------------------------------------


def read_manifest(out: Path) -> dict[str, Any] | None:
    """The manifest of a folder, None where there is none; LAV2Error for a file that is not one."""
    file = out / MANIFEST
    if not file.exists():
        return None
    found = files.read_json(file)
    if not isinstance(found, dict) or found.get("format") != FORMAT or not isinstance(found.get("stages"), dict):
        raise LAV2Error("{file} is no manifest of a recipe.", "Choose another --out.", file=file)
    return found


def manifest_hash(manifest: Mapping[str, Any]) -> str:
    """SHA-256 over the stages before the export: what each was made of, and what it made."""
    told = ("stage", "version", "settings", "seed", "model", "inputs", "outputs")
    done = [s for s in manifest["stages"].values() if s["state"] == DONE and s["stage"] not in ("export", "evaluate")]
    text = json.dumps([{name: stage[name] for name in told} for stage in done], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _write(run: Run, manifest: Mapping[str, Any]) -> None:
    files.write_text(run.out / MANIFEST, json.dumps(manifest, indent=1, ensure_ascii=False) + "\n")


# --- telling what there is -----------------------------------------------------------------------------------


def table(recipe: Recipe, out: Path | None) -> str:
    """The stages of a recipe, and how far they are in a folder."""
    known = (read_manifest(out) if out else None) or {"stages": {}}
    lines = []
    for stage in recipe.stages:
        entry = known["stages"].get(stage.name, {"state": "optional" if stage.optional else "to do"})
        took = f"{entry['seconds'] / 3600:.2f} h" if "seconds" in entry else ""
        lines.append(f"{stage.name:10} {entry['state']:9} {took:>8}  {stage.title}".rstrip())
        if entry.get("score"):
            lines.append(f"{'':31}{json.dumps(entry['score'])}")
    return "\n".join(lines)


def plan(run: Run, evaluate: bool = False) -> str:
    """What is left to do, with an estimate of hours and memory for each stage. Nothing is trained or written."""
    photos = captioned_photos(run)
    lines, total = [f"{'stage':10} {'state':9} {'hours':>6} {'memory':>8}"], 0.0
    for name, state, hours, memory in remaining(run, photos, evaluate):
        total += hours
        lines.append(f"{name:10} {state:9}" + (f" {hours:6.1f} {memory / 1e9:5.1f} GB" if state != DONE else ""))
    lines.append(f"About {total:.1f} hours of one CPU core with bfloat16 products for {photos} photos.")
    lines.append(f"{preflight.free() / 1e9:.1f} GB of memory are free.")
    return "\n".join(lines)


def captioned_photos(run: Run) -> int:
    """How many photos have captions."""
    (captions,) = run.paths("data:captions.jsonl").values()
    return sum(1 for _ in files.json_lines(captions))


def remaining(run: Run, photos: int, evaluate: bool = False) -> list[tuple[str, str, float, float]]:
    """(name, state, hours, bytes) of each stage, 0 of those that are done; LAV2Error as `make`."""
    known, found = (read_manifest(run.out) or {"stages": {}})["stages"], []
    for stage in run.stages(evaluate):
        state = known.get(stage.name, {}).get("state", "to do")
        if state != "to do":
            _check_same(run, stage, known[stage.name], _facts(run, stage))
        cost = (0.0, 0.0) if state == DONE else estimate(run.preset, stage, photos)
        found.append((stage.name, state, *cost))
    return found


def estimate(preset: Preset, stage: Stage, photos: int) -> tuple[float, float]:
    """(hours of one CPU core, bytes of memory) of a stage, from what was measured with the shipped language model."""
    folder = preflight.local(preset.llm)
    described = folder / "config.json" if folder else None
    known = described is not None and described.exists()
    larger = preflight.parameters(files.read_json(described)) / PARAMETERS if known else 1.0
    work = stage.work
    seconds = work.seconds + photos * (work.looks / LOOKS + work.lessons / LESSONS)
    if work.tokens:
        seconds += stage.settings.get("steps", 1) * (work.tokens / TOKENS + STEP) * larger
    dtype = stage.settings.get("dtype", "bfloat16")
    return seconds / 3600, preflight.needed(preset, dtype, training=True) + work.at_once * ROW_BYTES * larger


# --- the command ---------------------------------------------------------------------------------------------


def add_command(commands: Any) -> None:
    """Put `recipe` among the commands of the command line."""
    parser = command_parser(commands, "recipe", "make a preset's weights from nothing, stage by stage", run_command)
    parser.add_argument("recipe", choices=tuple(RECIPES))
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="with captions.jsonl, boxes.jsonl, qa/, photos/")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="of the stages and of manifest.json; the same "
                        "command goes on in it after an interruption")  # fmt: skip
    parser.add_argument("--from", dest="start", metavar="STAGE", help="make this stage and all behind it anew; what "
                        "they made is deleted")  # fmt: skip
    parser.add_argument("--evaluate", action="store_true", help="score captions of the split val at the end")
    parser.add_argument("--list", action="store_true", help="only tell the stages, and how far they are in --out")
    parser.add_argument("--dry-run", action="store_true", help="only tell what is left, in hours and memory")
    add_options(parser, config.Models, only=("llm",))
    add_options(parser, Run)


def run_command(options: argparse.Namespace) -> int:
    """`python -m lav2 recipe`."""
    recipe = RECIPES[options.recipe]
    if options.list:
        print(table(recipe, options.out))
        return 0
    if options.data is None or options.out is None:
        raise LAV2Error("A recipe needs --data and --out.", "Give both, or --list to see its stages.")
    preset = recipe.preset
    if options.llm:
        from lav2.model.llm import preset_on

        preset = preset_on(preset, options.llm)
    cache = options.cache.resolve() if options.cache else None
    run = Run(recipe, preset, options.data.resolve(), options.out.resolve(), options.seed, options.device, cache)
    if options.dry_run:
        print(plan(run, options.evaluate))
        return 0
    make(run, options.start, options.evaluate)
    print(table(recipe, run.out))
    return 0
