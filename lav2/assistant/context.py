"""What of findings, question and conversation goes into a prompt that fits into the model's context. No torch."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import NamedTuple

from lav2.errors import LAV2Error
from lav2.events import Request, Turn
from lav2.text import grounding, prompts

LINE_END = 8  # tokens at most that joining findings and question adds


class ContextWindow(NamedTuple):
    """The prompts of a template within a context.

    Args:
        template: of lav2.text.prompts.
        size: tokens of prompt and answer together at most.
        count_tokens: of a text, by the model's tokenizer.
    """

    template: str
    size: int
    count_tokens: Callable[[str], int]

    def fit(
        self, question: str, block: str, history: tuple[Turn, ...], request: Request, cancel: threading.Event
    ) -> tuple[str, int, int]:
        """(prompt, its tokens, turns of `history` in it): the oldest turns go first when the context is too small.

        Every turn is counted once, from the newest until the context is full without what the template adds; with that,
        the place where turns begin to fit is found by bisection. One who cancels gets a prompt without turns.

        Raises:
            LAV2Error: not even the question fits.
        """
        budget = self.size - self.reserved(request)

        def with_turns(count: int) -> tuple[str, int]:
            prompt = prompts.build(self.template, question, block, history[len(history) - count :])
            return prompt, self.count_tokens(prompt)

        prompt, used = with_turns(0)
        if used > budget:
            raise LAV2Error(
                "The question needs {tokens} tokens and the answer may take {answer}; "
                "the model's context has {context}.",
                "Shorten the question or lower the answer's length.",
                tokens=used,
                answer=self.reserved(request),
                context=self.size,
            )
        fits, most, sum_of_turns = 0, 0, used
        for turn in reversed(history):
            if cancel.is_set():
                return prompt, used, 0
            sum_of_turns += self.count_tokens(turn.question) + self.count_tokens(turn.answer)
            if sum_of_turns > budget:
                break
            most += 1
        tried = most  # mostly all of them fit
        while fits < most and not cancel.is_set():
            longer = with_turns(tried)
            if longer[1] <= budget:
                (prompt, used), fits = longer, tried
            else:
                most = tried - 1
            tried = (fits + most + 1) // 2
        return prompt, used, fits

    def parts(self, question: str, block: str, history: tuple[Turn, ...], used: int) -> dict[str, int]:
        """Tokens of a prompt of `used` by part; the template's are what the others leave."""
        parts = {"findings": self.count_tokens(block) if block else 0, "question": self.count_tokens(question)}
        parts["turns"] = sum(self.count_tokens(turn.question) + self.count_tokens(turn.answer) for turn in history)
        return {**parts, "template": max(0, used - sum(parts.values()))}

    def findings_budget(self, question: str, request: Request) -> int:
        """The findings' budget in tokens, less where question and answer leave less room: no question is refused for
        long findings."""
        used = self.count_tokens(prompts.build(self.template, question)) + LINE_END
        return min(grounding.EVIDENCE_BUDGET, self.size - self.reserved(request) - used)

    def reserved(self, request: Request) -> int:
        """Tokens of the context that the prompt leaves to the answer at least; it may take what is left beyond them. A
        very long answer is not worth every earlier turn."""
        return min(request.sampling.max_new_tokens, self.size // 4)
