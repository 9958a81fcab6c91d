"""LLaMA's sentencepiece tokenizer as transformers' fast one."""

from __future__ import annotations

from pathlib import Path

import sentencepiece
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, processors
from transformers import PreTrainedTokenizerFast

from lav2.errors import LAV2Error

PROBES = (  # texts whose ids must be sentencepiece's own
    "Below is an instruction that describes a task.\n\n### Instruction:\nWhat does the sign say?\n\n### Response:",
    "two  spaces, a\ttab,\r\n lines \n\n and a trailing space ",
    "</s> <s> <unk> <0x0A> ▁",
    "naïve café, 한국어, 日本語, 🐶🏽, ½, 12.5e-3",
    "",
)


# --- the tokenizer ----------------------------------------------------------------------------------------------
def convert_tokenizer(file: Path) -> PreTrainedTokenizerFast:
    """A sentencepiece BPE model as a tokenizer of transformers: the same ids, a begin token first, no end token.

    transformers' own LlamaTokenizer ignores the model's normaliser (other ids for line breaks and double spaces where
    there is one) and reads `</s>` in a user's text as the end token; sentencepiece and the released code do neither.
    One difference is left, in the tokenizers library, for normalisers other than LLaMA's `identity`: a letter with
    two or more combining marks may lose one of them.

    Raises:
        LAV2Error: the file is no sentencepiece BPE model, or the ids of PROBES differ.
    """
    from sentencepiece import sentencepiece_model_pb2

    proto = sentencepiece_model_pb2.ModelProto()
    try:
        proto.ParseFromString(file.read_bytes())
        original = sentencepiece.SentencePieceProcessor(model_file=str(file))
    except Exception as error:  # protobuf and sentencepiece raise types of their own, RuntimeError and OSError
        raise LAV2Error(
            f"{file} is no sentencepiece model ({type(error).__name__}).",
            "LLaMA 1 and 2 have one; for LLaMA 3 give a folder of transformers (config.json, tokenizer.json).",
        ) from error
    spec, trainer = proto.normalizer_spec, proto.trainer_spec
    vocabulary = {piece.piece: number for number, piece in enumerate(proto.pieces)}
    scores = {piece.piece: piece.score for piece in proto.pieces if piece.type == piece.NORMAL}
    merges = [  # of the pair whose union has the highest score first
        (-score, vocabulary[text], text[:cut], text[cut:])
        for text, score in scores.items()
        for cut in range(1, len(text))
        if text[:cut] in scores and text[cut:] in scores
    ]
    bos, eos, unknown = (proto.pieces[i].piece for i in (trainer.bos_id, trainer.eos_id, trainer.unk_id))
    core = Tokenizer(
        models.BPE(
            vocabulary,
            [(left, right) for *_, left, right in sorted(merges)],
            unk_token=unknown,
            fuse_unk=True,
            byte_fallback=trainer.byte_fallback,
        )
    )
    steps: list[normalizers.Normalizer] = []
    if spec.precompiled_charsmap:
        steps.append(normalizers.Precompiled(spec.precompiled_charsmap))
    if spec.remove_extra_whitespaces:
        steps += [normalizers.Replace(Regex("^ +| +$"), ""), normalizers.Replace(Regex(" {2,}"), " ")]
    if spec.add_dummy_prefix:
        steps.append(normalizers.Prepend("▁"))
    core.normalizer = normalizers.Sequence([*steps, normalizers.Replace(" ", "▁")])
    core.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    core.post_processor = processors.TemplateProcessing(single=f"{bos} $A", special_tokens=[(bos, trainer.bos_id)])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token=bos,
        eos_token=eos,
        unk_token=unknown,
        split_special_tokens=True,  # markers in a text are text
        clean_up_tokenization_spaces=False,
    )
    for text in PROBES:
        if tokenizer(text).input_ids != [original.bos_id(), *original.encode(text)]:
            raise LAV2Error(
                f"{file} could not be converted: {text!r} gets other ids.",
                "Give a folder of transformers (config.json, tokenizer.json) for this model.",
            )
    return tokenizer
