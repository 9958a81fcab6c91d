"""What is measured: captions, benchmarks, plain questions, and what each expert buys."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from experts.evidence import BUILT_IN, Evidence
from lav2.data.formats import InstructionRow, read_rows
from lav2.errors import LAV2Error
from lav2.evaluation.record import examine
from lav2.evaluation.runner import EvaluationRunner
from lav2.events import Turn
from lav2.instruct.grading import is_right, obeys
from lav2.metrics import docvqa, mme, pope, vqa
from lav2.metrics.bootstrap import bootstrap_interval
from lav2.metrics.captions import caption_scores, cider_d, read_coco_images, read_references, rouge_l
from lav2.metrics.questions import Question
from lav2.metrics.tokens import coco_tokens
from lav2.text import routing

BENCHMARKS: dict[str, tuple[Callable, Callable]] = {  # name -> reader of its files, scores
    "vqa": (vqa.read_vqav2, vqa.vqa_scores),
    "pope": (pope.read_pope, pope.pope_scores),
    "mme": (mme.read_mme, mme.mme_scores),
    "anls": (docvqa.read_docvqa, docvqa.anls_scores),
}
AUTO = routing.AUTO  # an arm whose experts lav2.text.routing chooses for each question
# Which experts are on: none, each alone, all but one, all.
ARMS: dict[str, tuple[str, ...]] = {
    "none": (),
    **{name: (name,) for name in BUILT_IN},
    **{f"all but {name}": tuple(n for n in BUILT_IN if n != name) for name in BUILT_IN},
    "all": BUILT_IN,
}


def captions(
    runner: EvaluationRunner,
    data: Path,
    images: Path | None = None,
    split: str | None = "val",
    limit: int | None = None,
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
    damaged = runner.damaged([str(photos[name]) for name in chosen], True, runner.how.views)
    given, chosen = len(chosen), [name for name in chosen if str(photos[name]) not in damaged]
    if not chosen:
        raise LAV2Error(f"No photo of {data} can be read.", "See the lines above.")
    started = time.perf_counter()
    said = runner.captions([str(photos[name]) for name in chosen])
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
    runner: EvaluationRunner,
    name: str,
    source: Path,
    images: Path | None = None,
    experts: Sequence[str] = BUILT_IN,
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
    damaged = runner.damaged(str(question.image) for question in asked)
    questions = [question for question in asked if str(question.image) not in damaged]
    if not questions:
        raise LAV2Error(f"No photo of {source} can be read.", "See the lines above, and check --images.")
    evidence = examine(runner, [str(question.image) for question in questions], experts)
    rows = [
        InstructionRow(str(q.image), (Turn(f"{q.text} {suffix}".strip(), "-"),), evidence[str(q.image)])
        for q in questions
    ]
    answers = {q.id: answer for q, answer in zip(questions, runner.answers(rows), strict=True)}
    left_out = len(asked) - len(questions)
    return {"scores": score(questions, answers), "questions": len(questions), "left out": left_out}, answers


LOOP = 4  # a repeated run of so many words is a loop


def chat(runner: EvaluationRunner, data: Path, split: str = "val", limit: int | None = None) -> tuple[dict, list[dict]]:
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
    after = runner.answers(rows)
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


def grounded(
    runner: EvaluationRunner, data: Path, arms: Sequence[str] = tuple(ARMS), limit: int | None = None
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
    damaged, given = runner.damaged(row.image for row in rows), len(rows)
    rows = [row for row in rows if row.image not in damaged]
    if not rows:
        raise LAV2Error(f"No photo of {data} can be read.", "See the lines above.")
    if any("caption" in ARMS.get(arm, BUILT_IN) for arm in arms):
        rows = with_captions(runner, rows)
    asked = [replace(row, evidence=_only(row.evidence, _on(arm, row))) for arm in arms for row in rows]
    said = runner.answers(asked)
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


def with_captions(runner: EvaluationRunner, rows: Sequence[InstructionRow]) -> list[InstructionRow]:
    photos = list(dict.fromkeys(r.image for r in rows if r.image is not None and "caption" not in r.evidence))
    captions = runner.caption_evidence(photos)
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
    pairs = [(arm, "none") for arm in arms if arm in (*BUILT_IN, "all") and "none" in arms]
    if AUTO in arms and "all" in arms:
        pairs.append((AUTO, "all"))
    return pairs + [("all", arm) for arm in arms if arm.startswith("all but") and "all" in arms]
