"""The commands that answer: ask, batch, caption, replay; and votes."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from lav2.assistant.addresses import Address, photo, place
from lav2.cli.options import add_experts, chosen_preset, expert_names, load_assistant
from lav2.cluster import engine
from lav2.cluster.batches import Stages
from lav2.cluster.deployment import Cluster
from lav2.config import Beside, Models, Placing
from lav2.errors import LAV2Error
from lav2.events import Sampling
from lav2.options import add_options, chosen, command_parser
from lav2.server.serving import Serving


def add_commands(commands: argparse._SubParsersAction) -> None:
    ask = command_parser(commands, "ask", "one question about one photo", run_ask)
    ask.add_argument("image", type=Path)
    ask.add_argument("question")
    ask.add_argument("--json", action="store_true", help="print one JSON object instead of text")

    batch = command_parser(commands, "batch", "questions of a JSON-lines file", run_batch)
    batch.add_argument("questions", type=place, help='JSON lines {"id", "image", "question"}, a Parquet file with '
                       "these columns (images relative to the file), or a folder of photos; by path or by an address "
                       "such as s3://bucket/photos")  # fmt: skip
    batch.add_argument("--question", default="", help="about every photo of a folder, or of rows that have none")
    batch.add_argument("--out", type=Path, required=True, metavar="FILE", help="answers, one line each; run again, it "
                       "asks what has no answer yet or failed")  # fmt: skip

    serve = command_parser(commands, "serve", "the page and its API, as app.py; with --replicas on Ray", run_serve)
    add_options(serve, Serving)
    add_options(serve, Models, only=("preset", "detector"))
    add_options(serve, Beside)
    add_options(serve, Placing)
    add_options(serve, Cluster)

    captions = command_parser(commands, "caption", "a caption per photo", run_caption)
    captions.add_argument("images", type=Path, nargs="+", metavar="image")
    captions.add_argument("--json", action="store_true", help='print lines {"image", "caption"}')

    replay = command_parser(
        commands, "replay", "a receipt's question again: the same answer, or what differs", run_replay
    )
    replay.add_argument("receipt", type=Path, help="JSON file, downloaded from the page")
    replay.add_argument("image", type=Path, nargs="?", help="the photo (none if the receipt has none)")

    vote = command_parser(commands, "votes", "preference pairs of the votes on the page's Compare tab", run_votes)
    vote.add_argument("--export", type=Path, required=True, metavar="FILE", help='JSON lines {"prompt", "chosen", '
                      '"rejected"}')  # fmt: skip

    for command in (ask, batch):
        add_experts(command, "names with commas, none, or auto")
        add_options(command, Sampling)
        add_options(command, Models, without=("caption_adapter",))
    add_options(batch, Stages)
    add_options(captions, Models, only=("preset", "llm", "adapter"))
    add_options(replay, Models, only=("llm", "adapter"))
    for command in (ask, batch, captions, replay):
        add_options(command, Placing)


def _answer(assistant, image: Path | Address, question: str, options: argparse.Namespace) -> dict:
    """One question's answer as the JSON object that `ask --json` prints."""
    from experts.evidence import ExpertFailure
    from lav2.assistant import receipt
    from lav2.events import Request, Routed
    from lav2.image import facts

    sampling = chosen(Sampling, options)
    request = Request(question, photo(image), experts=expert_names(options.experts), sampling=sampling)
    for done in assistant.answer(request):
        if isinstance(done, Routed):
            print(f"auto: {done.route}", file=sys.stderr)
    for name, found in done.evidence.items():
        if isinstance(found, ExpertFailure):
            print(f"{image}: {name} could not run: {found.cause} {found.next_step}", file=sys.stderr)
    if (photo_facts := facts(request.image))["part"]:
        print(f"{image}: {photo_facts['part']} {photo_facts['number']} of the file was looked at", file=sys.stderr)
    return receipt.answer(done, request.image)


def run_ask(options: argparse.Namespace) -> int:
    """`python -m lav2 ask`: one question, answered on the terminal or as JSON."""
    from lav2.image import open_image

    open_image(options.image)  # a bad photo is told before the models load
    result = _answer(load_assistant(options), options.image, options.question, options)
    print(json.dumps(result, ensure_ascii=False) if options.json else result["answer"])
    return 0


def run_batch(options: argparse.Namespace) -> int:
    """`python -m lav2 batch`: every row without an answer gets one; the exit code is 1 where some failed."""
    from functools import partial

    from tqdm import tqdm

    from lav2.assistant import batch

    def load() -> batch.Answer:
        assistant = load_assistant(options)
        return lambda image, question: _answer(assistant, image, question, options)

    show = partial(tqdm, unit="question", disable=None)
    if options.ray:
        from lav2.cluster import batches, parts

        asked = batches.Asked(expert_names(options.experts), chosen(Sampling, options))
        preset = chosen_preset(options, options.adapter)
        loader = parts.Loader(preset, options.detector, vars(chosen(Placing, options)))
        answers = batches.answers(loader, asked, chosen(Stages, options), show)
        answered, failed = batch.write(options.questions, options.out, answers, options.question)
    else:
        answered, failed = batch.run(options.questions, options.out, load, show, options.question)
    print(f"{answered} answered, {failed} failed: {options.out}", file=sys.stderr)
    if failed:
        print("Run the same command again to ask the failed ones again.", file=sys.stderr)
    return int(failed > 0)


def run_serve(options: argparse.Namespace) -> int:
    """Only starts app.py, which takes the same options: the page lies above the command line."""
    chosen(Cluster, options)  # what is wrong with its numbers is told before anything loads
    if options.replicas:
        engine.required("ray.serve")
    program = Path(__file__).parents[2] / "app.py"
    os.execv(sys.executable, [sys.executable, str(program), *options.arguments[1:]])


def run_caption(options: argparse.Namespace) -> int:
    """`python -m lav2 caption`: a sentence about each photo."""
    from lav2.image import open_image

    assistant = None
    failed = False
    for image in options.images:
        try:
            photo = open_image(image)
            assistant = assistant or load_assistant(options)
            text = assistant.caption(photo)
            print(json.dumps({"image": str(image), "caption": text}, ensure_ascii=False) if options.json else text)
        except LAV2Error as error:
            failed = True
            if options.json:
                print(json.dumps({"image": str(image), "error": str(error)}, ensure_ascii=False))
            else:
                print(f"error: {error}", file=sys.stderr)
    return int(failed)


def run_replay(options: argparse.Namespace) -> int:
    """`python -m lav2 replay`: a receipt's question again; the exit code is 1 where the answer differs."""
    from lav2.assistant import receipt
    from lav2.image import open_image

    before = receipt.read(options.receipt)
    photo = open_image(options.image) if options.image else None
    receipt.check_image(before, photo)
    options.preset = before["preset"]
    request = receipt.request(before, photo)
    *_, done = load_assistant(options).answer(request)
    after = receipt.receipt(request, done)
    same = receipt.same_answer(before, after)
    print("The answer is the same." if same else "The answer is another one.")
    for line in receipt.differences(before, after):
        print(f"  {line}")
    return 0 if same else 1


def run_votes(options: argparse.Namespace) -> int:
    """`python -m lav2 votes`: preference pairs of the stored votes, as JSON lines."""
    from lav2 import files
    from lav2.assistant import votes

    pairs = votes.pairs(report=lambda line: print(line, file=sys.stderr))
    lines = [json.dumps(pair, ensure_ascii=False) + "\n" for pair in pairs]
    files.write_text(options.export, "".join(lines))
    print(f"{len(lines)} pairs written to {options.export}")
    return 0
