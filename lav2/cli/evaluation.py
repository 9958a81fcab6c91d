"""The commands that measure: evaluate, examine."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from experts.evidence import BUILT_IN
from lav2.cli.options import add_experts, chosen_preset, expert_names
from lav2.cluster import engine
from lav2.config import Models, Placing, Preset
from lav2.errors import LAV2Error
from lav2.evaluation.settings import CaptionsConfig, EvaluationConfig, RowsConfig, ShardsConfig
from lav2.options import add_options, chosen, command_parser


def add_commands(commands: argparse._SubParsersAction) -> None:
    evaluate = command_parser(commands, "evaluate", "captions, benchmarks, and what each expert buys", run_evaluate)
    evaluate.add_argument("what", choices=("captions", "vqa", "pope", "mme", "anls", "grounded", "chat", "everyday",
                                           "human"))  # fmt: skip
    evaluate.add_argument("data", type=Path, help="captions.jsonl, COCO JSON, a benchmark's folder (anls: its file), "
                          "rows of lav2.instruct, or of `distil` (chat)")  # fmt: skip
    evaluate.add_argument("--out", type=Path, required=True, metavar="FILE", help="JSON with scores and all that they "
                          "depend on")  # fmt: skip
    add_experts(evaluate, "for benchmarks: names with commas, none", BUILT_IN)
    add_options(evaluate, EvaluationConfig)
    add_options(evaluate, Models)

    examine = command_parser(
        commands, "examine", "experts over many photos: evidence for python -m lav2.instruct", run_examine
    )
    examine.add_argument("data", type=Path, help='JSON lines with "image"')
    examine.add_argument("--out", type=Path, required=True, metavar="FILE", help="findings, a line each; an unfinished "
                         "file is resumed")  # fmt: skip
    add_experts(examine, "names with commas", BUILT_IN)
    add_options(examine, RowsConfig)
    add_options(examine, Models, without=("adapter",))
    examine.set_defaults(adapter=None, what="photos")

    for command in (evaluate, examine):
        add_options(command, CaptionsConfig)
        add_options(command, ShardsConfig)
        add_options(command, Placing)


def run_examine(options: argparse.Namespace) -> int:
    """`python -m lav2 examine`: what the experts find on each photo, as JSON lines."""
    _check(options)
    from lav2.evaluation import record

    experts = expert_names(options.experts)
    with _runner(options) as runner:
        count = record.record(runner, options.data, options.out, experts, options.images, options.split, options.limit)
    print(f"{count} photos: {options.out}")
    return 0


def run_evaluate(options: argparse.Namespace) -> int:
    """`python -m lav2 evaluate`: scores of a benchmark or of captions, as JSON."""
    _check(options)
    from lav2.evaluation import natural, tasks

    arms = tuple(options.arms.split(",")) if options.arms else tuple(tasks.ARMS)
    known_arms = (*tasks.ARMS, tasks.AUTO, natural.NO_LINE)
    unknown = [arm for arm in arms if arm not in known_arms]
    if unknown:
        known = ", ".join(known_arms)
        raise LAV2Error(f"There is no arm {unknown[0]!r}.", f"Choose of: {known}.")
    with _runner(options) as runner:
        _evaluate(replace(runner, batch=options.batch, max_new_tokens=options.max_new_tokens), arms, options)
    return 0


def _check(options: argparse.Namespace) -> None:
    """What is wrong with the options of Ray is told before anything loads."""
    if chosen(ShardsConfig, options).ray:
        engine.required()


def _evaluate(runner, arms: tuple[str, ...], options: argparse.Namespace) -> None:
    from lav2.evaluation import natural, report, tasks
    from lav2.metrics.captions import write_coco_results

    if options.what == "captions":
        scores, answers = tasks.captions(runner, options.data, options.images, options.split, options.limit)
        results = {"scores": scores, "captions": answers}
        if options.coco_results:
            write_coco_results(options.coco_results, answers)
    elif options.what == "grounded":
        scores, rows = tasks.grounded(runner, options.data, arms, options.limit)
        results = {"scores": scores, "rows": rows}
        print(report.table(scores))
    elif options.what == "everyday":
        scores, rows = natural.everyday(runner, options.data, arms, options.limit)
        results = {"scores": scores, "rows": rows}
    elif options.what == "human":
        folder = options.images or options.data.parent.parent / "photos/coco"
        scores, rows = natural.human(runner, options.data, folder, arms, options.split, options.limit)
        results = {"scores": scores, "rows": rows}
    elif options.what == "chat":
        scores, rows = tasks.chat(runner, options.data, options.split, options.limit)
        results = {"scores": scores, "rows": rows}
    else:
        scores, answers = tasks.benchmark(
            runner,
            options.what,
            options.data,
            options.images,
            expert_names(options.experts),
            options.suffix,
            options.limit,
        )
        results = {"scores": scores, "answers": answers}
    if options.what != "grounded":
        print(json.dumps(scores, indent=1))
    report.write(report.report(runner, options.arguments, options.seed, options.data, **results), options.out)


@contextmanager
def _runner(options: argparse.Namespace) -> Iterator:
    """What `evaluate` and `examine` measure with, on Ray where that is asked for; captions as --beams and --drafts
    say."""
    from lav2.evaluation.runner import EvaluationRunner
    from lav2.weights import cache_dir

    preset, placing = _measured(options), vars(chosen(Placing, options))
    cache, shards = options.cache or cache_dir() / "features", chosen(ShardsConfig, options)
    given = {name: getattr(options, name) for name in ("beams", "drafts") if getattr(options, name) is not None}
    if "beams" in given:
        given = {"drafts": 0} | given
    if shards.ray:
        from lav2.cluster.parts import Loader
        from lav2.cluster.shards import runner

        with runner(Loader(preset, options.detector, placing), cache, shards) as sharded:
            yield replace(sharded, captioning=replace(sharded.how, **given))
        return
    from lav2.assistant.service import Assistant

    assistant = Assistant.load(preset, detector=options.detector, **placing,
                               report=lambda line: print(line, file=sys.stderr))  # fmt: skip
    yield EvaluationRunner(assistant, cache, captioning=replace(assistant.captioner.settings, **given))


def _measured(options: argparse.Namespace) -> Preset:
    """The preset of `evaluate` and `examine`: --adapter is the captioner for captions, else the chat adapter."""
    preset = chosen_preset(options)
    if options.what == "captions":
        adapter = options.adapter or preset.caption_adapter
        return replace(preset, adapter=adapter, caption_adapter=adapter)
    return replace(
        preset,
        adapter=options.adapter or preset.adapter,
        caption_adapter=options.caption_adapter or preset.caption_adapter,
    )
