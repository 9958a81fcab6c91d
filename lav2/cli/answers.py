"""The commands that answer: ask, batch, caption, replay; and votes."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from lav2.cli.options import DTYPE_HELP, LLM_HELP, add_placing, expert_names, load_assistant
from lav2.errors import LAV2Error


def add_commands(commands: argparse._SubParsersAction) -> None:
    ask = commands.add_parser("ask", help="one question about one photo")
    ask.add_argument("image", type=Path)
    ask.add_argument("question")
    ask.add_argument("--json", action="store_true", help="print one JSON object instead of text")
    ask.set_defaults(run=run_ask)

    batch = commands.add_parser("batch", help="questions of a JSON-lines file")
    batch.add_argument("questions", type=Path, help='lines {"id", "image", "question"}; images relative to the file')
    batch.add_argument("--out", type=Path, required=True, help="answers, one line each; run again, it asks what has "
                       "no answer yet or failed")  # fmt: skip
    batch.set_defaults(run=run_batch)

    captions = commands.add_parser("caption", help="a caption per photo")
    captions.add_argument("images", type=Path, nargs="+", metavar="image")
    captions.add_argument("--json", action="store_true", help='print lines {"image", "caption"}')
    captions.set_defaults(run=run_caption)

    replay = commands.add_parser("replay", help="a receipt's question again: the same answer, or what differs")
    replay.add_argument("receipt", type=Path, help="JSON file, downloaded from the page")
    replay.add_argument("image", type=Path, nargs="?", help="the photo (none if the receipt has none)")
    replay.set_defaults(run=run_replay)

    vote = commands.add_parser("votes", help="preference pairs of the votes on the page's Compare tab")
    vote.add_argument("--export", type=Path, required=True, help='JSON lines {"prompt", "chosen", "rejected"}')
    vote.set_defaults(run=run_votes)

    for command in (ask, batch):
        command.add_argument("--experts", default="caption,detection,ocr", help="names with commas, none, or auto")
        command.add_argument("--seed", type=int, default=0)
        command.add_argument("--temperature", type=float, default=0.0, help="0: greedy")
        command.add_argument("--max-new-tokens", type=int, default=128)
        command.add_argument("--detector", help="weights (default: $LAV2_DETECTOR, the preset's)")
    for command in (ask, batch, captions):
        command.add_argument("--preset", default="embedded", help="see `python -m lav2 presets`")
    for command in (ask, batch, captions, replay):
        command.add_argument("--llm", help=LLM_HELP)
        command.add_argument("--adapter", help="folder of an adapter, in place of the preset's")
        command.add_argument("--device", help="cpu, cuda (default: what is there)")
        command.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), help=DTYPE_HELP)
    add_placing(ask, batch, captions, replay)


def _answer(assistant, image: Path, question: str, options: argparse.Namespace) -> dict:
    """One question's answer as the JSON object that `ask --json` prints."""
    from experts.evidence import ExpertFailure
    from lav2.assistant import receipt
    from lav2.events import Request, Sampling
    from lav2.image import facts, open_image
    from lav2.text import routing

    sampling = Sampling(temperature=options.temperature, max_new_tokens=options.max_new_tokens, seed=options.seed)
    experts, route = routing.choose(expert_names(options.experts), question)
    if route:
        print(f"auto: {route}", file=sys.stderr)
    request = Request(question, open_image(image), experts=experts, sampling=sampling)
    *_, done = assistant.answer(request)
    for name, found in done.evidence.items():
        if isinstance(found, ExpertFailure):
            print(f"{image}: {name} could not run: {found.cause} {found.next_step}", file=sys.stderr)
    if (taken := facts(request.image))["part"]:
        print(f"{image}: {taken['part']} {taken['number']} of the file was looked at", file=sys.stderr)
    return receipt.answer(done, route, request.image)


def run_ask(options: argparse.Namespace) -> int:
    from lav2.image import open_image

    open_image(options.image)  # a bad photo is told before the models load
    result = _answer(load_assistant(options), options.image, options.question, options)
    print(json.dumps(result, ensure_ascii=False) if options.json else result["answer"])
    return 0


def run_batch(options: argparse.Namespace) -> int:
    from functools import partial

    from tqdm import tqdm

    from lav2.assistant import batch

    def load() -> batch.Answer:
        assistant = load_assistant(options)
        return lambda image, question: _answer(assistant, image, question, options)

    answered, failed = batch.run(options.questions, options.out, load, partial(tqdm, unit="question", disable=None))
    print(f"{answered} answered, {failed} failed: {options.out}", file=sys.stderr)
    if failed:
        print("Run the same command again to ask the failed ones again.", file=sys.stderr)
    return int(failed > 0)


def run_caption(options: argparse.Namespace) -> int:
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
    from lav2 import files
    from lav2.assistant import votes

    pairs = votes.pairs(report=lambda line: print(line, file=sys.stderr))
    lines = [json.dumps(pair, ensure_ascii=False) + "\n" for pair in pairs]
    files.write_text(options.export, "".join(lines))
    print(f"{len(lines)} pairs written to {options.export}")
    return 0
