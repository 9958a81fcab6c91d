"""The command line: `python -m lav2 ask | batch | caption | replay | votes | train | phrases | encoder | distil |
recipe | examine | evaluate | import | export | publish | presets`."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

import lav2  # noqa: F401  (sets OpenMP's waiting before torch is loaded)
from lav2 import config, recipe
from lav2.errors import LAV2Error, missing_package
from lav2.hub import command as hub
from lav2.hub import fetch

CAPTION_QUESTION = "Describe the photo in one sentence."  # to a chat adapter that has no captioner beside it
QUANTIZE_HELP = "weights of the language model, by bitsandbytes; on the CPU 8bit is the engine's (default: as --dtype)"
DTYPE_HELP = "(default: bfloat16, float16 on a GPU that has none)"
LLM_HELP = "another LLaMA-family model of transformers, by name or folder (LLaMA, SmolLM2, Mistral, Qwen2, Qwen3 ...)"


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit code: 0 done, 1 a told failure, 2 wrong usage (argparse)."""
    parser = argparse.ArgumentParser(prog="python -m lav2", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)

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

    for command in (ask, batch):
        command.add_argument("--experts", default="caption,detection,ocr", help="names with commas, none, or auto")
        command.add_argument("--seed", type=int, default=0)
        command.add_argument("--temperature", type=float, default=0.0, help="0: greedy")
        command.add_argument("--max-new-tokens", type=int, default=128)
        command.add_argument("--detector", help="weights (default: $LAV2_DETECTOR, the preset's)")

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

    for command in (ask, batch, captions):
        command.add_argument("--preset", default="embedded", help="see `python -m lav2 presets`")
    for command in (ask, batch, captions, replay):
        command.add_argument("--llm", help=LLM_HELP)
        command.add_argument("--adapter", help="folder of an adapter, in place of the preset's")
        command.add_argument("--device", help="cpu, cuda (default: what is there)")
        command.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), help=DTYPE_HELP)

    train = commands.add_parser("train", help="train an adapter")
    train.add_argument("--stage", required=True, choices=("pretrain", "finetune", "joint", "caption", "scst"))
    train.add_argument("--preset", default="embedded", help="whose frozen models are used")
    train.add_argument("--llm", help=LLM_HELP)
    train.add_argument("--data", type=Path, nargs="+", required=True, help="caption and instruction files")
    train.add_argument("--images", type=Path, help="folder of the photos (default: each file's own)")
    train.add_argument("--out", type=Path, required=True, help="folder of the run; it may hold no other run or adapter")
    train.add_argument("--resume", action="store_true", help="go on with the killed run in --out: data, photos, models "
                       "and settings must be those that it was started with")  # fmt: skip
    train.add_argument("--init", type=Path, help="adapter folder that a new run starts from; it stays as it is")
    train.add_argument("--init-groups", choices=("visual", "language"), nargs="+", default=("visual", "language"),
                       help="what is taken from --init; the rest starts anew")  # fmt: skip
    train.add_argument("--lora-rank", type=int, help="of a language group that starts anew (default: that of --init)")
    train.add_argument("--steps", type=int, default=2000)
    train.add_argument("--batch", type=int, default=32)
    train.add_argument("--accumulate", type=int, default=1)
    train.add_argument("--together", type=int, default=1, help="captions or questions of a photo in one row of "
                       "the batch: what they share is computed once (8 is twice as fast on a CPU)")  # fmt: skip
    train.add_argument("--lr", type=float, default=1e-3)
    train.add_argument("--prompt-lr", type=float, default=3e-3)
    train.add_argument("--gate-lr", type=float, default=3e-2)
    train.add_argument("--label-smoothing", type=float, default=0.0)
    train.add_argument("--ema", type=float, default=0.0, help="decay of the weights' running average, such as 0.999")
    train.add_argument("--seed", type=int, default=0)
    train.add_argument("--cache", type=Path, help="folder of cached image features (default: the user's cache)")
    train.add_argument("--warm-steps", type=int, default=0, help="steps of the projector's warm start")
    train.add_argument("--views", type=int, default=2, help="of each photo with captions: 1 the photo, 2 its mirror "
                       "image too, 4, 6 ...: crops and theirs too")  # fmt: skip
    train.add_argument("--encoder", help="weights of the image encoder, in place of the preset's or that of --init "
                       "(see `python -m lav2 encoder`)")  # fmt: skip
    train.add_argument("--device", help="cpu, cuda (default: what is there)")
    train.add_argument("--dtype", choices=("float32", "bfloat16"), help="of the frozen matrices (default: bfloat16 on "
                       "a GPU that has it, else float32; CPUs with avx512_bf16 or amx are faster in it)")  # fmt: skip
    train.add_argument("--gradient-checkpointing", action="store_true", help="less memory, about a third more time")
    train.set_defaults(run=run_train)

    phrases = commands.add_parser("phrases", help="teach the judge of a captioner's drafts what people say of photos")
    phrases.add_argument("data", type=Path, nargs="+", help="caption files")
    phrases.add_argument("--adapter", required=True, help="folder of the caption adapter, where the judge is put")
    phrases.add_argument("--images", type=Path, help="folder of the photos (default: each file's own)")
    phrases.add_argument("--views", type=int, default=2, help="of each photo, as for train")
    phrases.add_argument("--seed", type=int, default=0)
    phrases.add_argument("--cache", type=Path, help="folder of cached image features (default: the user's cache)")
    phrases.add_argument("--device", help="cpu, cuda (default: what is there)")
    phrases.set_defaults(run=run_phrases)

    encoder = commands.add_parser("encoder", help="tune the image encoder on what captions and boxes tell of photos")
    encoder.add_argument("data", type=Path, nargs="+", help="captions.jsonl, boxes.jsonl, teacher_boxes.jsonl")
    encoder.add_argument("--images", type=Path, help="folder of the photos (default: that of the first file)")
    encoder.add_argument("--out", type=Path, required=True, help="folder of encoder.safetensors, for train --encoder")
    encoder.add_argument("--epochs", type=int, default=3)
    encoder.add_argument("--batch", type=int, default=32)
    encoder.add_argument("--lr", type=float, default=2.5e-4)
    encoder.add_argument("--seed", type=int, default=0)
    encoder.add_argument("--device", help="cpu, cuda (default: what is there)")
    encoder.add_argument("--dtype", choices=("float32", "bfloat16"), default="bfloat16", help="of the products")
    encoder.set_defaults(run=run_encoder)

    distil = commands.add_parser("distil", help="the frozen model's own answers to plain prompts, to be trained with")
    distil.add_argument("prompts", type=Path, help="one per line, such as assets/plain_prompts.txt")
    distil.add_argument("--out", type=Path, required=True, help="Alpaca rows; every fifth is of the split val")
    distil.add_argument("--preset", default="embedded", help="see `python -m lav2 presets`")
    distil.add_argument("--llm", help=LLM_HELP)
    distil.add_argument("--device", help="cpu, cuda (default: what is there)")
    distil.set_defaults(run=run_distil)

    recipe.add_command(commands)

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
    for command in (ask, batch, captions, replay, evaluate, examine, train):
        command.add_argument("--quantize", choices=("8bit", "4bit"), help=QUANTIZE_HELP)
        command.add_argument("--device-map", choices=("auto",), help="the model over all GPUs, then memory, then disk")

    released = commands.add_parser("import", help="LLaMA in Meta's format and a released adapter file")
    released.add_argument("--llama-dir", type=Path, required=True, help="Meta's folder, or one of transformers")
    released.add_argument("--adapter", type=Path, required=True, help="BIAS-7B.pth, LORA-BIAS-7B.pth ...")
    released.add_argument("--out", required=True, help="folder, or cache:PRESET for a preset")
    released.add_argument("--base", help="where the converted LLaMA goes, to be shared by imports (default: OUT/llm)")
    released.add_argument("--clip", type=Path, help="file of CLIP ViT-L/14 (default: open_clip fetches OpenAI's)")
    released.add_argument("--clip-config", type=Path, help="open_clip model config of another tower (.json)")
    released.add_argument("--projector-heads", type=int, default=16, help="attention heads of the visual projection")
    released.add_argument("--prompt-length", type=int, default=10, help="prompt length of a text-only adapter")
    released.set_defaults(run=run_import)

    export = commands.add_parser("export", help="an adapter in float16, for shipping")
    export.add_argument("adapter", type=Path, help="folder of a training run")
    export.add_argument("out", type=Path)
    export.set_defaults(run=run_export)

    hub.add_commands(commands)

    presets = commands.add_parser("presets", help="the presets and their sources")
    presets.add_argument("--device", help="cpu, cuda (default: what is there)")
    presets.set_defaults(run=run_presets)

    options = parser.parse_args(arguments)
    options.arguments = sys.argv[1:] if arguments is None else arguments
    try:
        fetch.resolve(options)
        return options.run(options)
    except ModuleNotFoundError as error:
        return _told(missing_package(error))
    except LAV2Error as error:
        return _told(error)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def _told(error: LAV2Error) -> int:
    print(f"error: {error.cause}\n  next: {error.next_step}", file=sys.stderr)
    return 1


def _assistant(options: argparse.Namespace):
    from lav2.assistant import Assistant

    return Assistant.load(
        _preset(options, options.adapter),
        detector=getattr(options, "detector", None),
        device=options.device,
        dtype=options.dtype,
        quantize=options.quantize,
        device_map=options.device_map,
        report=lambda line: print(line, file=sys.stderr),
    )


def _preset(options: argparse.Namespace, adapter: str | None = None) -> config.Preset:
    """The preset, on the language model of --llm and with the adapter of --adapter where they are given.

    An adapter takes the place of the preset's adapter of its kind, and on another language model that of both.
    """
    preset = config.preset(options.preset)
    if options.llm:
        from lav2.model import preset_on

        preset = preset_on(preset, options.llm)
    if adapter:
        from lav2.checkpoint import CAPTION_STAGES, read_notes

        captions = read_notes(Path(adapter)).get("stage") in CAPTION_STAGES
        if captions or options.llm:
            question = "" if captions else preset.caption_question or CAPTION_QUESTION
            preset = replace(preset, caption_adapter=adapter, caption_question=question)
        if options.llm or not captions:
            preset = replace(preset, adapter=adapter)
    return preset


def _experts(text: str) -> tuple[str, ...]:
    return () if text.strip() in ("", "none") else tuple(name.strip() for name in text.split(","))


def _answer(assistant, image: Path, question: str, options: argparse.Namespace) -> dict:
    """One question's answer as the JSON object that `ask --json` prints."""
    from experts.evidence import ExpertFailure
    from lav2 import receipt, routing
    from lav2.events import Request, Sampling
    from lav2.image import facts, open_image

    sampling = Sampling(temperature=options.temperature, max_new_tokens=options.max_new_tokens, seed=options.seed)
    experts, route = routing.choose(_experts(options.experts), question)
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
    result = _answer(_assistant(options), options.image, options.question, options)
    print(json.dumps(result, ensure_ascii=False) if options.json else result["answer"])
    return 0


def run_batch(options: argparse.Namespace) -> int:
    from functools import partial

    from tqdm import tqdm

    from lav2 import batch

    def load() -> batch.Answer:
        assistant = _assistant(options)
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
            assistant = assistant or _assistant(options)
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
    from lav2 import receipt
    from lav2.image import open_image

    before = receipt.read(options.receipt)
    photo = open_image(options.image) if options.image else None
    receipt.check_image(before, photo)
    options.preset = before["preset"]
    request = receipt.request(before, photo)
    *_, done = _assistant(options).answer(request)
    after = receipt.receipt(request, done)
    same = receipt.same_answer(before, after)
    print("The answer is the same." if same else "The answer is another one.")
    for line in receipt.differences(before, after):
        print(f"  {line}")
    return 0 if same else 1


def run_votes(options: argparse.Namespace) -> int:
    from lav2 import files, votes

    pairs = votes.pairs(report=lambda line: print(line, file=sys.stderr))
    lines = [json.dumps(pair, ensure_ascii=False) + "\n" for pair in pairs]
    files.write_text(options.export, "".join(lines))
    print(f"{len(lines)} pairs written to {options.export}")
    return 0


def run_train(options: argparse.Namespace) -> int:
    from lav2 import train

    defaults = train.TrainConfig()
    settings = replace(
        defaults,
        **{
            name: getattr(options, name)
            for name in ("stage", "steps", "batch", "accumulate", "together", "lr", "prompt_lr", "gate_lr",
                         "label_smoothing", "ema", "seed")
        },
    )
    train.run(
        _preset(options),
        settings,
        options.data,
        options.out,
        images=options.images,
        init=options.init,
        init_groups=options.init_groups,
        lora_rank=options.lora_rank,
        cache=options.cache,
        views=options.views,
        warm_steps=options.warm_steps,
        device=options.device,
        dtype=options.dtype,
        checkpointing=options.gradient_checkpointing,
        encoder=options.encoder,
        quantize=options.quantize,
        device_map=options.device_map,
        resume=options.resume,
    )
    return 0


def run_phrases(options: argparse.Namespace) -> int:
    from lav2 import train
    from lav2.weights import find

    train.learn_phrases(
        find(options.adapter),
        options.data,
        images=options.images,
        cache=options.cache,
        views=options.views,
        seed=options.seed,
        device=options.device,
    )
    return 0


def run_encoder(options: argparse.Namespace) -> int:
    from lav2 import concepts, preflight
    from lav2.instruct import read_photos

    root = options.images or options.data[0].parent
    train, validation = (read_photos(options.data, root, split) for split in ("train", "val"))
    settings = concepts.EncoderConfig(
        epochs=options.epochs, batch=options.batch, lr=options.lr, seed=options.seed
    )
    device = preflight.device(options.device)
    concepts.tune(config.EFFICIENTNET_LITE2, train, validation, options.out, settings, device, options.dtype)
    return 0


def run_distil(options: argparse.Namespace) -> int:
    from lav2 import train

    train.distil(_preset(options), options.prompts, options.out, options.device)
    return 0


def run_examine(options: argparse.Namespace) -> int:
    from lav2 import evaluate

    bench = _bench(options)
    experts = _experts(options.experts)
    count = evaluate.record(
        bench, options.data, options.out, experts, options.images, options.split, options.limit
    )
    print(f"{count} photos: {options.out}")
    return 0


def run_evaluate(options: argparse.Namespace) -> int:
    from lav2 import evaluate, natural
    from lav2.metrics import write_coco_results

    arms = tuple(options.arms.split(",")) if options.arms else tuple(evaluate.ARMS)
    known_arms = (*evaluate.ARMS, evaluate.AUTO, natural.NO_LINE)
    unknown = [arm for arm in arms if arm not in known_arms]
    if unknown:
        known = ", ".join(known_arms)
        raise LAV2Error(f"There is no arm {unknown[0]!r}.", f"Choose of: {known}.")
    bench = replace(_bench(options), batch=options.batch, max_new_tokens=options.max_new_tokens)
    if options.what == "captions":
        scores, answers = evaluate.captions(bench, options.data, options.images, options.split, options.limit)
        results = {"scores": scores, "captions": answers}
        if options.coco_results:
            write_coco_results(options.coco_results, answers)
    elif options.what == "grounded":
        scores, rows = evaluate.grounded(bench, options.data, arms, options.limit)
        results = {"scores": scores, "rows": rows}
        print(evaluate.table(scores))
    elif options.what == "everyday":
        scores, rows = natural.everyday(bench, options.data, arms, options.limit)
        results = {"scores": scores, "rows": rows}
    elif options.what == "human":
        folder = options.images or options.data.parent.parent / "photos/coco"
        scores, rows = natural.human(bench, options.data, folder, arms, options.split, options.limit)
        results = {"scores": scores, "rows": rows}
    elif options.what == "chat":
        scores, rows = evaluate.chat(bench, options.data, options.split, options.limit)
        results = {"scores": scores, "rows": rows}
    else:
        scores, answers = evaluate.benchmark(
            bench, options.what, options.data, options.images, _experts(options.experts), options.suffix, options.limit
        )
        results = {"scores": scores, "answers": answers}
    if options.what != "grounded":
        print(json.dumps(scores, indent=1))
    evaluate.write(evaluate.report(bench, options.arguments, options.seed, options.data, **results), options.out)
    return 0


def _bench(options: argparse.Namespace):
    """What `evaluate` and `examine` measure with; captions as --beams and --drafts say."""
    from lav2.evaluate import Bench
    from lav2.weights import cache_dir

    assistant = _measured(options)
    given = {name: getattr(options, name) for name in ("beams", "drafts") if getattr(options, name) is not None}
    if "beams" in given:
        given = {"drafts": 0} | given
    return Bench(
        assistant, options.cache or cache_dir() / "features", captioning=replace(assistant.captioning, **given)
    )


def _measured(options: argparse.Namespace):
    """The assistant of `evaluate` and `examine`: --adapter is the captioner for captions, else the chat adapter."""
    from lav2.assistant import Assistant

    preset = _preset(options)
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


def run_import(options: argparse.Namespace) -> int:
    from lav2.released import import_released
    from lav2.vision import clip_settings
    from lav2.weights import destination

    vision = config.CLIP_VIT_L_14_BGR
    if options.clip:
        vision = replace(vision, weights=str(options.clip.resolve()))
    if options.clip_config:
        vision = clip_settings(vision, str(options.clip_config.resolve()))
    out = destination(options.out)
    import_released(
        options.llama_dir,
        options.adapter,
        out,
        base=destination(options.base) if options.base else None,
        vision=vision,
        projector_heads=options.projector_heads,
        prompt_length=options.prompt_length,
        report=lambda line: print(line, file=sys.stderr),
    )
    name = options.out.removeprefix("cache:")
    known = options.out.startswith("cache:") and name in config.RELEASED
    choice = f"--preset {name}" if known else f"--preset llama-7b-bias --llm {out / 'llm'} --adapter {out}"
    print(f'Ask with: python -m lav2 ask PHOTO "QUESTION" {choice}', file=sys.stderr)
    return 0


def run_export(options: argparse.Namespace) -> int:
    from lav2 import checkpoint

    checkpoint.export(options.adapter, options.out)
    return 0


def run_presets(options: argparse.Namespace) -> int:
    from lav2 import preflight

    print(preflight.table(preflight.device(options.device)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
