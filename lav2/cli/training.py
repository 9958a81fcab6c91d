"""The commands that train: train, phrases, encoder, distil."""

from __future__ import annotations

import argparse
from pathlib import Path

from lav2 import config
from lav2.cli.options import chosen_preset
from lav2.config import Models, Placing, Prompts
from lav2.errors import LAV2Error
from lav2.options import add_options, chosen, command_parser
from lav2.training.settings import EncoderConfig, PhrasesConfig, RunConfig, TrainConfig


def add_commands(commands: argparse._SubParsersAction) -> None:
    train = command_parser(commands, "train", "train an adapter on a preset's frozen models", run_train)
    train.add_argument("--data", type=Path, nargs="+", required=True, help="caption and instruction files")
    train.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="of the run; it may hold no other run "
                       "or adapter")  # fmt: skip
    add_options(train, TrainConfig)
    add_options(train, Models, only=("preset", "llm"))
    add_options(train, RunConfig)
    add_options(train, Prompts)

    phrases = command_parser(
        commands, "phrases", "teach the reranker of a captioner's drafts what people say of photos", run_phrases
    )
    phrases.add_argument("data", type=Path, nargs="+", help="caption files")
    phrases.add_argument("--adapter", required=True, metavar="FOLDER", help="the caption adapter's, where the reranker "
                         "is put")  # fmt: skip
    add_options(phrases, PhrasesConfig)

    encoder = command_parser(
        commands, "encoder", "tune the image encoder on what captions and boxes tell of photos", run_encoder
    )
    encoder.add_argument("data", type=Path, nargs="+", help="captions.jsonl, boxes.jsonl, teacher_boxes.jsonl")
    encoder.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="of encoder.safetensors, for train "
                         "--encoder")  # fmt: skip
    encoder.add_argument("--images", type=Path, metavar="FOLDER", help="of the photos (default: the first file's)")
    encoder.add_argument("--phrases", type=Path, metavar="FILE", help="entities_flickr8k.jsonl.gz: what people "
                         "call parts of the photos")  # fmt: skip
    encoder.add_argument("--dtype", choices=("float32", "bfloat16"), default="bfloat16", help="of the products")
    add_options(encoder, EncoderConfig)
    add_options(encoder, Placing, only=("device",))

    distil = command_parser(
        commands, "distil", "the frozen model's own answers to plain prompts, to be trained with", run_distil
    )
    distil.add_argument("prompts", type=Path, help="one per line, such as assets/plain_prompts.txt")
    distil.add_argument("--out", type=Path, required=True, metavar="FILE", help="Alpaca rows; every fifth is of the "
                        "split val")  # fmt: skip
    add_options(distil, Models, only=("preset", "llm"))
    add_options(distil, Placing, only=("device",))


def run_train(options: argparse.Namespace) -> int:
    """`python -m lav2 train`: see lav2.training.run."""
    from lav2.training import run

    settings, start, prompts = (chosen(kind, options) for kind in (TrainConfig, RunConfig, Prompts))
    if start.init and prompts != Prompts():
        raise LAV2Error(
            "The adapter of --init has its own prompts.",
            "Leave --fusion, --visual-layers and --adapter-layers away, or start anew without --init.",
        )
    run.run(config.with_prompts(chosen_preset(options), prompts), settings, options.data, options.out, start)
    return 0


def run_phrases(options: argparse.Namespace) -> int:
    """`python -m lav2 phrases`: see lav2.training.reranker."""
    from lav2.training import reranker
    from lav2.weights import find

    reranker.learn_phrases(find(options.adapter), options.data, chosen(PhrasesConfig, options))
    return 0


def run_encoder(options: argparse.Namespace) -> int:
    """`python -m lav2 encoder`: see lav2.training.encoder."""
    from lav2.instruct.photos import read_photos
    from lav2.model import preflight
    from lav2.training.encoder import tune
    from lav2.training.regions import read_regions

    root = options.images or options.data[0].parent
    train, validation = (read_photos(options.data, root, split) for split in ("train", "val"))
    device = preflight.device(options.device)
    settings = chosen(EncoderConfig, options)
    named = read_regions(options.phrases, root) if options.phrases else {}
    tune(config.EFFICIENTNET_LITE2, train, validation, options.out, settings, device, options.dtype, named=named)
    return 0


def run_distil(options: argparse.Namespace) -> int:
    from lav2.training import distil

    distil.distil(chosen_preset(options), options.prompts, options.out, options.device)
    return 0
