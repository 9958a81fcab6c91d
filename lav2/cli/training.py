"""The commands that train: train, phrases, encoder, distil."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from lav2 import config
from lav2.cli.options import LLM_HELP, Renamed, add_placing, chosen_preset
from lav2.errors import LAV2Error


def add_commands(commands: argparse._SubParsersAction) -> None:
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
    train.add_argument("--fusion", choices=("early", "late"), help="of a new adapter: early (the paper) puts the "
                       "visual prompt into the first layers, late adds it to the adaptation prompts (default: the "
                       "preset's)")  # fmt: skip
    train.add_argument("--visual-layers", type=int, metavar="N", help="with early fusion: the first layers, which get "
                       "the visual prompt (default: 1)")  # fmt: skip
    train.add_argument("--adapter-layers", type=int, metavar="N", help="the last layers, which get the adaptation "
                       "prompts of a new adapter (default: the preset's)")  # fmt: skip
    train.add_argument("--steps", type=int, default=2000)
    train.add_argument("--batch", type=int, default=32)
    train.add_argument("--accumulate", type=int, default=1)
    train.add_argument("--pack", type=int, default=1, dest="together", metavar="N", help="captions or questions of "
                       "a photo in one row of the batch: what they share is computed once (8 is twice as fast "
                       "on a CPU)")  # fmt: skip
    train.add_argument("--together", type=int, action=Renamed, const="--pack", help=argparse.SUPPRESS)
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
    add_placing(train)
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


def run_train(options: argparse.Namespace) -> int:
    from lav2.training import run
    from lav2.training.settings import TrainConfig

    defaults = TrainConfig()
    settings = replace(
        defaults,
        **{
            name: getattr(options, name)
            for name in (
                "stage",
                "steps",
                "batch",
                "accumulate",
                "together",
                "lr",
                "prompt_lr",
                "gate_lr",
                "label_smoothing",
                "ema",
                "seed",
            )
        },
    )
    prompts = {name: getattr(options, name) for name in ("fusion", "visual_layers", "adapter_layers")}
    if options.init and any(value is not None for value in prompts.values()):
        raise LAV2Error(
            "The adapter of --init has its own prompts.",
            "Leave --fusion, --visual-layers and --adapter-layers away, or start anew without --init.",
        )
    run.run(
        config.with_prompts(chosen_preset(options), **prompts),
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
    from lav2.training import reranker
    from lav2.weights import find

    reranker.learn_phrases(
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
    from lav2.instruct.photos import read_photos
    from lav2.model import preflight
    from lav2.training.encoder import EncoderConfig, tune

    root = options.images or options.data[0].parent
    train, validation = (read_photos(options.data, root, split) for split in ("train", "val"))
    settings = EncoderConfig(epochs=options.epochs, batch=options.batch, lr=options.lr, seed=options.seed)
    device = preflight.device(options.device)
    tune(config.EFFICIENTNET_LITE2, train, validation, options.out, settings, device, options.dtype)
    return 0


def run_distil(options: argparse.Namespace) -> int:
    from lav2.training import distil

    distil.distil(chosen_preset(options), options.prompts, options.out, options.device)
    return 0
