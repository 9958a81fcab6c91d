"""Turns and evidence to one prompt string; no torch.

Templates: `chat` is the ChatML form that SmolLM2 was tuned on, `alpaca` what the released LLaMA-Adapter checkpoints
were tuned on; anything else is the Jinja text of a tokenizer's own chat template (lav2.model.llm.preset_on). Text that
came from a user or a photo has been cleaned of template markers by the caller.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime

from jinja2 import TemplateError
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from lav2.errors import LAV2Error
from lav2.events import Turn

SYSTEM = "You are a helpful assistant. Answer from the photo and the findings, briefly and truthfully."
_MARKERS = re.compile(
    r"<\|[^|<>]{0,40}\|>|</?s>|\[/?INST\]|<</?SYS>>|^#{2,}\s*(?=instruction|response|input)",
    re.IGNORECASE | re.MULTILINE,
)


def clean(text: str) -> str:
    """A question or an answer without the templates' own markers, so that it cannot open a turn of its own."""
    return _MARKERS.sub(" ", text).strip()


def build(template: str, question: str, evidence: str = "", history: Sequence[Turn] = ()) -> str:
    """The prompt that the answer continues.

    Args:
        template: `chat`, `alpaca` or the Jinja text of a chat template.
        question: of this turn, cleaned.
        evidence: the block of experts.render.render, "" with experts off; it belongs to the newest question.
        history: earlier turns, oldest first, without evidence.

    Raises:
        LAV2Error: no such template, or a Jinja text that is broken.
    """
    asked = f"{evidence}\n{question}" if evidence else question
    if template == "chat":
        turns = "".join(
            f"<|im_start|>user\n{turn.question}<|im_end|>\n<|im_start|>assistant\n{turn.answer}<|im_end|>\n"
            for turn in history
        )
        return (
            f"<|im_start|>system\n{SYSTEM}<|im_end|>\n{turns}"
            f"<|im_start|>user\n{asked}<|im_end|>\n<|im_start|>assistant\n"
        )
    if template == "alpaca":
        # The released code has one turn; earlier ones go before the instruction, as Alpaca's "input" would.
        turns = "".join(f"### Instruction:\n{turn.question}\n\n### Response:{turn.answer}\n\n" for turn in history)
        return (
            "Below is an instruction that describes a task. "
            "Write a response that appropriately completes the request.\n\n"
            f"{turns}### Instruction:\n{asked}\n\n### Response:"
        )
    if "{" not in template:
        raise LAV2Error(f"There is no prompt template {template!r}.", "Use `chat` or `alpaca`.")
    said = [message for turn in history for message in (("user", turn.question), ("assistant", turn.answer))]
    said.append(("user", asked))
    try:
        return _rendered(template, [("system", SYSTEM), *said])
    except TemplateError:  # many templates refuse a system turn: its text goes before the first question
        first = ("user", f"{SYSTEM}\n\n{said[0][1]}")
    try:
        return _rendered(template, [first, *said[1:]])
    except TemplateError as error:
        raise LAV2Error(
            f"The tokenizer's chat template fails ({error}).", "Repair its tokenizer_config.json."
        ) from error


def beginning(template: str, history: Sequence[Turn] = ()) -> str:
    """What every prompt with that history begins with, whatever is asked."""
    gap = "\ufffc"  # stands in no template and in no text that means something
    return build(template, gap, "", history).partition(gap)[0]


def _rendered(template: str, said: Sequence[tuple[str, str]]) -> str:
    """A chat template on (role, text) turns, in the environment that transformers gives it."""

    def refuse(message: str) -> None:
        raise TemplateError(message)

    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
    environment.globals |= {"raise_exception": refuse, "strftime_now": lambda form: datetime.now().strftime(form)}
    messages = [{"role": role, "content": text} for role, text in said]
    return environment.from_string(template).render(messages=messages, add_generation_prompt=True)
