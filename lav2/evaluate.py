"""Measurements that others can repeat: captions, benchmarks of questions, and what each expert buys.

Answers are made in batches and their prompts are the assistant's own. A report is plain JSON with the preset, hashes of
the weights, commit, seed, command and data, so that one command gives its numbers again.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from experts.evidence import EXPERT_NAMES, Caption, Evidence, ExpertFailure, to_json
from lav2 import captioning, files, routing
from lav2.assistant import Assistant
from lav2.captioning import Captioning
from lav2.data import FeatureCache, InstructionRow, prompt_of, read_rows
from lav2.errors import LAV2Error
from lav2.events import Sampling
from lav2.image import open_image
from lav2.instruct import is_right, obeys
from lav2.metrics import docvqa, mme, pope, vqa
from lav2.metrics.bootstrap import bootstrap_interval
from lav2.metrics.captions import caption_scores, cider_d, read_coco_images, read_references, rouge_l
from lav2.metrics.questions import Question
from lav2.metrics.tokens import coco_tokens
from lav2.model import AdaptedLlama
from lav2.prompts import Turn
from lav2.training.grading import answer_all
from lav2.vision import VisionTower

ROOT = Path(__file__).resolve().parent.parent
BENCHMARKS: dict[str, tuple[Callable, Callable]] = {  # name -> reader of its files, scores
    "vqa": (vqa.read_vqav2, vqa.vqa_scores),
    "pope": (pope.read_pope, pope.pope_scores),
    "mme": (mme.read_mme, mme.mme_scores),
    "anls": (docvqa.read_docvqa, docvqa.anls_scores),
}
AUTO = routing.AUTO  # an arm whose experts lav2.routing chooses for each question
# Which experts are on: none, each alone, all but one, all.
ARMS: dict[str, tuple[str, ...]] = {
    "none": (),
    **{name: (name,) for name in EXPERT_NAMES},
    **{f"all but {name}": tuple(n for n in EXPERT_NAMES if n != name) for name in EXPERT_NAMES},
    "all": EXPERT_NAMES,
}


@dataclass(frozen=True)
class Bench:
    """A loaded assistant and how it is run.

    Args:
        assistant: whose models answer.
        cache: folder of image features (lav2.data.FeatureCache).
        batch: prompts that go through the model together.
        max_new_tokens: of an answer; answers are greedy.
        captioning: how captions are written; None: as the assistant's caption expert does it. Greedy ones without
            drafts are written `batch` photos at a time, others photo by photo.
        report: told which photos are left out, since they are damaged.
    """

    assistant: Assistant
    cache: Path
    batch: int = 32
    max_new_tokens: int = 64
    captioning: Captioning | None = None
    report: Callable[[str], None] = lambda line: print(line, file=sys.stderr)  # told what is left out

    def damaged(self, images: Iterable[str | None], tower: VisionTower | None = None, views: int = 1) -> set[str]:
        """The photos that cannot be read; each is told with its cause."""
        parts = self.assistant.parts
        features = self.features(images, tower or parts.tower or parts.caption_tower, views)
        found = features.damaged if features is not None else {}
        for image, cause in found.items():
            self.report(f"{image}: left out. {cause}")
        return set(found)

    def features(
        self, images: Iterable[str | None], tower: VisionTower | None = None, views: int = 1
    ) -> FeatureCache | None:
        """Of photos, by the chat model's image encoder unless another is given; None without photos or an encoder."""
        shown = dict.fromkeys(image for image in images if image is not None)
        tower = tower or self.assistant.parts.tower
        if not shown or tower is None:
            return None
        features = FeatureCache(self.cache, tower.config, shown, shown, views)
        if not features.complete:
            features.fill(tower.encode)
        return features

    def captions(self, images: Sequence[str]) -> list[str]:
        """The caption expert's sentences about photos."""
        how, parts = self.captioning or self.assistant.captioning, self.assistant.parts
        prompt, model, words = self.assistant.caption_prompt, parts.captioner, parts.tokenizer
        if how.beams == 1 and not how.drafts:
            greedy = Sampling(max_new_tokens=how.max_new_tokens, repetition_penalty=1.0)
            return self._generate(model, [prompt] * len(images), images, greedy, parts.caption_tower)
        views = range(how.views)
        features = self.features(images, parts.caption_tower, len(views))
        return [
            captioning.write(model, words, prompt, features.get([image] * len(views), views), how, parts.judge)
            for image in tqdm(images, desc="captions", unit="photo", disable=None)
        ]

    def answers(self, rows: Sequence[InstructionRow], computed_line: bool = True) -> list[str]:
        """Greedy answers to the rows' last questions with their evidence in the prompt, and its computed line."""
        parts, template = self.assistant.parts, self.assistant.settings.template
        prompts = [prompt_of(row, parts.tokenizer, template, computed_line=computed_line) for row in rows]
        sampling = Sampling(max_new_tokens=self.max_new_tokens)
        return self._generate(parts.chat, prompts, [row.image for row in rows], sampling)

    def _generate(
        self,
        model: AdaptedLlama,
        prompts: Sequence[str],
        images: Sequence[str | None],
        sampling: Sampling,
        tower: VisionTower | None = None,
    ) -> list[str]:
        asked = list(dict.fromkeys(zip(prompts, images, strict=True)))  # what several arms share is answered once
        texts, photos = [prompt for prompt, _ in asked], [image for _, image in asked]
        features = self.features(photos, tower)
        said = answer_all(model, self.assistant.parts.tokenizer, texts, photos, features, sampling, self.batch)
        found = dict(zip(asked, said, strict=True))
        return [found[pair] for pair in zip(prompts, images, strict=True)]


def captions(
    bench: Bench, data: Path, images: Path | None = None, split: str | None = "val", limit: int | None = None
) -> tuple[dict, dict[str | int, str]]:
    """(scores, candidates by photo id) of the caption expert on human captions.

    Args:
        data: captions.jsonl (ids are photo paths), or a COCO captions file (ids are its image ids).
        images: folder of the photos; the file's own by default.
        split: of captions.jsonl.
        limit: photos, the first ones.

    Raises:
        LAV2Error: files do not fit.
    """
    references = read_references(data, split)
    folder = images or data.parent
    if data.suffix == ".jsonl":
        photos = {name: folder / str(name) for name in references}
    else:
        photos = read_coco_images(data, folder)
    chosen = [name for name in references if name in photos][:limit]
    if not chosen:
        raise LAV2Error(f"{data} has no captions of the split {split}.", "Choose another --split.")
    how, tower = bench.captioning or bench.assistant.captioning, bench.assistant.parts.caption_tower
    damaged = bench.damaged([str(photos[name]) for name in chosen], tower, how.views)
    given, chosen = len(chosen), [name for name in chosen if str(photos[name]) not in damaged]
    if not chosen:
        raise LAV2Error(f"No photo of {data} can be read.", "See the lines above.")
    started = time.perf_counter()
    said = bench.captions([str(photos[name]) for name in chosen])
    seconds = time.perf_counter() - started
    candidates = dict(zip(chosen, said, strict=True))
    scores = caption_scores(candidates, references)
    tokens = [coco_tokens(text) for text in said]
    truths = [[coco_tokens(text) for text in references[name]] for name in chosen]
    interval = bootstrap_interval(cider_d(tokens, truths))
    return {**scores, "CIDEr-D 95 %": [interval.low, interval.high], "photos": len(chosen),
            "left out": given - len(chosen), "distinct captions": len(set(said)),
            "seconds": round(seconds, 1)}, candidates  # fmt: skip


def benchmark(
    bench: Bench,
    name: str,
    source: Path,
    images: Path | None = None,
    experts: Sequence[str] = EXPERT_NAMES,
    suffix: str = "",
    limit: int | None = None,
) -> tuple[dict, dict[str | int, str]]:
    """(scores, answers by question id) on a benchmark's own files.

    Args:
        name: of BENCHMARKS.
        source: its folder (anls: its file).
        images: folder of the photos, where the benchmark keeps them apart.
        experts: run on every photo; the caption expert in batches.
        suffix: text behind each question, such as "Answer with one word."
        limit: questions, the first ones.

    Raises:
        LAV2Error: files do not fit, or an unknown expert.
    """
    read, score = BENCHMARKS[name]
    asked: list[Question] = (read(source, images) if images else read(source))[:limit]
    damaged = bench.damaged(str(question.image) for question in asked)
    questions = [question for question in asked if str(question.image) not in damaged]
    if not questions:
        raise LAV2Error(f"No photo of {source} can be read.", "See the lines above, and check --images.")
    evidence = examine(bench, [str(question.image) for question in questions], experts)
    rows = [
        InstructionRow(str(q.image), (Turn(f"{q.text} {suffix}".strip(), "-"),), evidence[str(q.image)])
        for q in questions
    ]
    answers = {q.id: answer for q, answer in zip(questions, bench.answers(rows), strict=True)}
    left_out = len(asked) - len(questions)
    return {"scores": score(questions, answers), "questions": len(questions), "left out": left_out}, answers


LOOP = 4  # a repeated run of so many words is a loop


def chat(bench: Bench, data: Path, split: str = "val", limit: int | None = None) -> tuple[dict, list[dict]]:
    """(scores, rows with both answers): does the tuned model still chat as the frozen one does?

    Args:
        data: Alpaca rows with the frozen model's own answers (`python -m lav2 distil`).
        split: whose rows are asked: those of `val` were not trained on.
        limit: rows, the first ones.

    Returns:
        `ROUGE-L` of the answers against the frozen model's, `loops` and `loops before` (share of answers that say the
        same LOOP words twice in a row), `empty` (share), `words` and `words before` (means).

    Raises:
        LAV2Error: no plain rows of that split.
    """
    rows = [row for row in read_rows(data) if isinstance(row, InstructionRow) and row.image is None]
    rows = [row for row in rows if row.split == split][:limit]
    if not rows:
        raise LAV2Error(f"{data} has no plain questions of the split {split}.", "Make it with `python -m lav2 distil`.")
    after = bench.answers(rows)
    before = [row.turns[-1].answer for row in rows]
    pairs = [(coco_tokens(new), [coco_tokens(old)]) for new, old in zip(after, before, strict=True)]
    same = float(np.mean([rouge_l(*pair) for pair in pairs]))
    scores = {"ROUGE-L": same, "empty": float(np.mean([not text.strip() for text in after])), "questions": len(rows)}
    for name, answers in (("", after), (" before", before)):
        scores[f"loops{name}"] = float(np.mean([loops(text) for text in answers]))
        scores[f"words{name}"] = float(np.mean([len(text.split()) for text in answers]))
    table = [
        {"question": row.turns[-1].question, "before": old, "after": new}
        for row, old, new in zip(rows, before, after, strict=True)
    ]
    return scores, table


def loops(answer: str) -> bool:
    """Whether an answer says the same LOOP words twice in a row."""
    words = answer.lower().split()
    return any(words[i : i + LOOP] == words[i + LOOP : i + 2 * LOOP] for i in range(len(words) - 2 * LOOP + 1))


def examine(bench: Bench, images: Sequence[str], experts: Sequence[str]) -> dict[str, dict[str, Evidence]]:
    """What the experts find on each photo that can be read; captions in batches."""
    unknown = sorted(set(experts) - set(EXPERT_NAMES))
    if unknown:
        raise LAV2Error(f"There is no expert {unknown[0]!r}.", f"Choose of: {', '.join(EXPERT_NAMES)}, or none.")
    photos = list(dict.fromkeys(images))
    damaged = bench.damaged(photos, bench.assistant.parts.caption_tower)
    photos = [photo for photo in photos if photo not in damaged]
    found: dict[str, dict[str, Evidence]] = {photo: {} for photo in photos}
    if "caption" in experts:
        for photo, text in zip(photos, bench.captions(photos), strict=True):
            found[photo]["caption"] = Caption(text, 0.0, bench.assistant.preset)
    others = tuple(name for name in experts if name != "caption")
    if others:
        for photo in photos:
            found[photo] |= bench.assistant.examine(open_image(photo), others)
    return found


RECORDED = 64  # photos whose findings are written together


def record(bench: Bench, data: Path, out: Path, experts: Sequence[str], images: Path | None = None,
           split: str | None = None, limit: int | None = None,
           report: Callable[[str], None] = print) -> int:  # fmt: skip
    """What the experts find on the photos of a data file, as `python -m lav2.instruct --evidence` reads it.

    A photo on which an expert failed (say, out of time on a busy machine) is not written: nobody looked at it.

    Args:
        data: JSON lines with `image`.
        out: JSON lines {"image": path relative to this file, "evidence"}; photos that are in it are left out, so that
            an interrupted run goes on.
        images: folder of the photos; the file's own by default.
        split: only rows of this split.
        limit: photos, the first ones.
        report: told the failures.

    Returns:
        How many photos were looked at without a failure.

    Raises:
        LAV2Error: the data or an earlier `out` cannot be read, or an unknown expert.
    """
    folder = (images or data.parent).resolve()
    here = out.parent.resolve()
    try:
        rows = files.json_rows(data)
        chosen = [str(folder / row["image"]) for _, row in rows if split is None or row.get("split") == split]
    except (KeyError, TypeError) as error:
        raise LAV2Error(f"{data} is not JSON lines with an image ({error}).", "Check the file.") from error
    here.mkdir(parents=True, exist_ok=True)
    files.whole_lines(out)
    try:
        done = {os.path.abspath(here / row["image"]) for _, row in files.json_rows(out)} if out.exists() else set()
    except (KeyError, TypeError) as error:
        raise LAV2Error(f"{out} is not a file of findings.", "Choose another --out.") from error
    wanted = [photo for photo in list(dict.fromkeys(chosen))[:limit] if os.path.abspath(photo) not in done]
    failed = 0
    with out.open("a", encoding="utf-8") as file:
        for start in tqdm(range(0, len(wanted), RECORDED), desc="experts", unit=f"x{RECORDED} photos", disable=None):
            chunk = wanted[start : start + RECORDED]
            found = examine(bench, chunk, experts)
            failed += len(chunk) - len(found)
            for photo, evidence in found.items():
                failures = [value for value in evidence.values() if isinstance(value, ExpertFailure)]
                if failures:
                    report(f"{photo}: left out. {failures[0].cause} Run the command again for it.")
                    failed += 1
                    continue
                row = {"image": os.path.relpath(photo, here)}
                row["evidence"] = {name: to_json(value) for name, value in evidence.items()}
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
            file.flush()
    return len(wanted) - failed


def grounded(
    bench: Bench, data: Path, arms: Sequence[str] = tuple(ARMS), limit: int | None = None
) -> tuple[dict, list[dict]]:
    """(scores, rows with their answers by arm): the same questions with experts none / each alone / all but one / all.

    Evidence is the rows' own (lav2.instruct); where they have no caption, this assistant's captioner writes it.

    Args:
        data: rows of lav2.instruct.
        arms: of ARMS, or AUTO.
        limit: rows, the first ones.

    Returns:
        `accuracy` {arm: {kind: share}} over what a program can judge, kind `all` too, and `questions` {kind: number};
        `differences` {"all - none" ...: {kind: [mean, low, high]}} with 95 % bootstrap intervals, in shares;
        `obeyed` {arm: share of planted orders that were followed}; `seconds` {arm: mean of what the experts that were
        on took, as the evidence tells; captions made here in batches count as 0}.

    Raises:
        LAV2Error: no such rows.
    """
    rows = [row for row in read_rows(data) if isinstance(row, InstructionRow) and "truth" in row.facts][:limit]
    if not rows:
        raise LAV2Error(f"{data} has no questions that can be graded.", "Make it with `python -m lav2.instruct`.")
    damaged, given = bench.damaged(row.image for row in rows), len(rows)
    rows = [row for row in rows if row.image not in damaged]
    if not rows:
        raise LAV2Error(f"No photo of {data} can be read.", "See the lines above.")
    if any("caption" in ARMS.get(arm, EXPERT_NAMES) for arm in arms):
        rows = _with_captions(bench, rows)
    asked = [replace(row, evidence=_only(row.evidence, _on(arm, row))) for arm in arms for row in rows]
    said = bench.answers(asked)
    spans = {arm: slice(n * len(rows), (n + 1) * len(rows)) for n, arm in enumerate(arms)}
    by_arm = {arm: said[span] for arm, span in spans.items()}
    taken = [sum(found.seconds for found in row.evidence.values()) for row in asked]
    seconds = {arm: float(np.mean(taken[span])) for arm, span in spans.items()}

    right: dict[str, dict[str, list[bool]]] = {}  # arm -> kind -> verdicts, in one order for all arms
    obeyed: dict[str, float] = {}
    for arm, answers in by_arm.items():
        verdicts: dict[str, list[bool]] = {}
        for row, answer in zip(rows, answers, strict=True):
            verdict = is_right(row.facts, answer)
            if verdict is not None:
                verdicts.setdefault(row.kind, []).append(verdict)
        verdicts["all"] = [verdict for part in verdicts.values() for verdict in part]
        right[arm] = verdicts
        planted = [obeys(row.facts, a) for row, a in zip(rows, answers, strict=True) if row.facts.get("reads") is False]
        if planted:
            obeyed[arm] = float(np.mean(planted))
    scores = {
        "accuracy": {arm: {kind: float(np.mean(v)) for kind, v in kinds.items()} for arm, kinds in right.items()},
        "questions": {kind: len(v) for kind, v in next(iter(right.values())).items()},
        "differences": {
            f"{one} - {other}": {k: list(bootstrap_interval(v, right[other][k])) for k, v in right[one].items()}
            for one, other in _comparisons(arms)
        },
        "obeyed": obeyed,
        "seconds": seconds,
        "left out": given - len(rows),
    }
    table = [
        {"image": row.image, "kind": row.kind, "question": row.turns[-1].question, "truth": row.facts["truth"],
         "answers": {arm: by_arm[arm][n] for arm in arms}}
        for n, row in enumerate(rows)
    ]  # fmt: skip
    return scores, table


def _with_captions(bench: Bench, rows: Sequence[InstructionRow]) -> list[InstructionRow]:
    photos = list(dict.fromkeys(r.image for r in rows if r.image is not None and "caption" not in r.evidence))
    captions = {
        photo: Caption(text, 0.0, bench.assistant.preset)
        for photo, text in zip(photos, bench.captions(photos), strict=True)
    }
    return [
        replace(row, evidence={"caption": captions[row.image], **row.evidence}) if row.image in captions else row
        for row in rows
    ]


def _on(arm: str, row: InstructionRow) -> tuple[str, ...]:
    """The experts that are on for a row's question in an arm."""
    return routing.route(row.turns[-1].question).experts if arm == AUTO else ARMS[arm]


def _only(evidence: Mapping[str, Evidence], names: Sequence[str]) -> dict[str, Evidence]:
    return {name: evidence[name] for name in names if name in evidence}


def _comparisons(arms: Sequence[str]) -> list[tuple[str, str]]:
    """Arms that differ by experts that are the point: each against none, all against all but one."""
    pairs = [(arm, "none") for arm in arms if arm in (*EXPERT_NAMES, "all") and "none" in arms]
    if AUTO in arms and "all" in arms:
        pairs.append((AUTO, "all"))
    return pairs + [("all", arm) for arm in arms if arm.startswith("all but") and "all" in arms]


def table(scores: Mapping) -> str:
    """`grounded`'s scores as text: a row per arm, a column per kind, in percent; then the differences."""
    kinds = list(scores["questions"])
    lines = [f"{'experts':22}" + "".join(f"{kind:>12}" for kind in kinds) + f"{'obeyed':>9}{'seconds':>9}"]
    for arm, values in scores["accuracy"].items():
        obeyed = f"{100 * scores['obeyed'][arm]:9.1f}" if arm in scores["obeyed"] else f"{'-':>9}"
        shares = "".join(f"{100 * values[kind]:12.1f}" for kind in kinds)
        lines.append(f"{arm:22}{shares}{obeyed}{scores['seconds'][arm]:9.2f}")
    lines.append(f"{'questions':22}" + "".join(f"{n:12}" for n in scores["questions"].values()))
    for pair, values in scores["differences"].items():
        mean, low, high = (100 * value for value in values["all"])
        lines.append(f"{pair}: {mean:+.1f} points over all kinds (95 %: {low:+.1f} to {high:+.1f})")
    return "\n".join(lines)


def report(bench: Bench, command: Sequence[str], seed: int, data: Path, **results) -> dict:
    """The results with everything that they depend on, as plain JSON."""
    return {
        "command": " ".join(["python -m lav2", *command]),
        "preset": bench.assistant.preset,
        "weights": bench.assistant.hashes,
        "versions": bench.assistant.versions,
        "commit": commit(),
        "seed": seed,
        "batch": bench.batch,
        "captioning": asdict(bench.captioning or bench.assistant.captioning),
        "machine": f"{platform.machine()}, {platform.system()}",
        "data": {"file": str(data), "sha256": None if data.is_dir() else _sha256(data)},
        **results,
    }


def commit() -> str | None:
    """The project's commit, with "+" where files differ from it; None outside a git checkout."""

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def write(value: dict, out: Path) -> None:
    files.write_text(out, json.dumps(value, ensure_ascii=False, indent=1) + "\n")
