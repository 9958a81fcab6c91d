"""The commands that measure: evaluate, examine."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

from lav2.cli.options import DTYPE_HELP, LLM_HELP, add_placing, chosen_preset, expert_names
from lav2.errors import LAV2Error


def add_commands(commands: argparse._SubParsersAction) -> None:
    evaluate = commands.add_parser("evaluate", help="captions, benchmarks, and what each expert buys")
    evaluate.add_argument("what", choices=("captions", "vqa", "pope", "mme", "anls", "grounded", "chat", "everyday",
                                           "human"))  # fmt: skip
    evaluate.add_argument("data", type=Path, help="captions.jsonl, COCO JSON, a benchmark's folder (anls: its file), "
                          "rows of lav2.instruct, or of `distil` (chat)")  # fmt: skip
    evaluate.add_argument("--out", type=Path, required=True, help="JSON with scores and all that they depend on")
    evaluate.add_argument("--images", type=Path, help="folder of the photos (default: that of the data)")
    evaluate.add_argument("--preset", default="embedded", help="see `python -m lav2 presets`")
    evaluate.add_argument("--llm", help=LLM_HELP)
    evaluate.add_argument("--adapter", help="folder of the adapter that is measured, in place of the preset's")
    evaluate.add_argument("--caption-adapter", help="of the caption expert, in place of the preset's")
    evaluate.add_argument("--detector", help="weights (default: $LAV2_DETECTOR, the preset's)")
    evaluate.add_argument("--experts", default="caption,detection,ocr", help="for benchmarks: names with commas, none")
    evaluate.add_argument("--arms", help="for grounded: sets of experts with commas, such as none,detection,all,auto")
    evaluate.add_argument("--split", default="val", help="of captions.jsonl and of plain questions")
    evaluate.add_argument("--suffix", default="", help='behind questions, such as "Answer with one word."')
    evaluate.add_argument("--coco-results", type=Path, help="captions as a COCO result file")
    evaluate.add_argument("--limit", type=int, help="only the first rows")
    evaluate.add_argument("--batch", type=int, default=32, help="prompts at once")
    evaluate.add_argument("--max-new-tokens", type=int, default=64)
    evaluate.add_argument("--seed", type=int, default=0)
    evaluate.add_argument("--cache", type=Path, help="folder of cached image features (default: the user's cache)")
    evaluate.add_argument("--device", help="cpu, cuda (default: what is there)")
    evaluate.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), help=DTYPE_HELP)
    evaluate.set_defaults(run=run_evaluate)

    examine = commands.add_parser("examine", help="experts over many photos: evidence for python -m lav2.instruct")
    examine.add_argument("data", type=Path, help='JSON lines with "image"')
    examine.add_argument("--out", type=Path, required=True, help="findings, a line each; an unfinished file is resumed")
    examine.add_argument("--images", type=Path, help="folder of the photos (default: that of the data)")
    examine.add_argument("--split", help="only rows of this split")
    examine.add_argument("--limit", type=int, help="only the first photos")
    examine.add_argument("--experts", default="caption,detection,ocr", help="names with commas")
    examine.add_argument("--preset", default="embedded", help="see `python -m lav2 presets`")
    examine.add_argument("--llm", help=LLM_HELP)
    examine.add_argument("--caption-adapter", help="of the caption expert, in place of the preset's")
    examine.add_argument("--detector", help="weights (default: $LAV2_DETECTOR, the preset's)")
    examine.add_argument("--cache", type=Path, help="folder of cached image features (default: the user's cache)")
    examine.add_argument("--device", help="cpu, cuda (default: what is there)")
    examine.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), help=DTYPE_HELP)
    examine.set_defaults(run=run_examine, adapter=None, what="photos")

    for command in (evaluate, examine):
        command.add_argument("--beams", type=int, help="captions by a beam of that width, 1: greedy, in place "
                             "of drafts")  # fmt: skip
        command.add_argument("--drafts", type=int, help="captions sampled of a photo; of them and half as many of "
                             "its mirror image one is told; 0: the likeliest is (default: the preset's)")  # fmt: skip
    add_placing(evaluate, examine)


def run_examine(options: argparse.Namespace) -> int:
    from lav2.evaluation import record

    runner = _runner(options)
    experts = expert_names(options.experts)
    count = record.record(runner, options.data, options.out, experts, options.images, options.split, options.limit)
    print(f"{count} photos: {options.out}")
    return 0


def run_evaluate(options: argparse.Namespace) -> int:
    from lav2.evaluation import natural, report, tasks
    from lav2.metrics.captions import write_coco_results

    arms = tuple(options.arms.split(",")) if options.arms else tuple(tasks.ARMS)
    known_arms = (*tasks.ARMS, tasks.AUTO, natural.NO_LINE)
    unknown = [arm for arm in arms if arm not in known_arms]
    if unknown:
        known = ", ".join(known_arms)
        raise LAV2Error(f"There is no arm {unknown[0]!r}.", f"Choose of: {known}.")
    runner = replace(_runner(options), batch=options.batch, max_new_tokens=options.max_new_tokens)
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
    return 0


def _runner(options: argparse.Namespace):
    """What `evaluate` and `examine` measure with; captions as --beams and --drafts say."""
    from lav2.evaluation.runner import EvaluationRunner
    from lav2.weights import cache_dir

    assistant = _measured(options)
    given = {name: getattr(options, name) for name in ("beams", "drafts") if getattr(options, name) is not None}
    if "beams" in given:
        given = {"drafts": 0} | given
    return EvaluationRunner(
        assistant, options.cache or cache_dir() / "features", captioning=replace(assistant.captioning, **given)
    )


def _measured(options: argparse.Namespace):
    """The assistant of `evaluate` and `examine`: --adapter is the captioner for captions, else the chat adapter."""
    from lav2.assistant.service import Assistant

    preset = chosen_preset(options)
    if options.what == "captions":
        adapter = options.adapter or preset.caption_adapter
        preset = replace(preset, adapter=adapter, caption_adapter=adapter)
    else:
        preset = replace(
            preset,
            adapter=options.adapter or preset.adapter,
            caption_adapter=options.caption_adapter or preset.caption_adapter,
        )
    return Assistant.load(
        preset,
        detector=options.detector,
        device=options.device,
        dtype=options.dtype,
        quantize=options.quantize,
        device_map=options.device_map,
        report=lambda line: print(line, file=sys.stderr),
    )
