"""What of a conversation goes into the prompt: the newest turns that fit, found without reading all of it again and
again. A tiny model, whose words are its tokens."""

import threading
from dataclasses import replace

import numpy as np
import pytest
from tiny import LATE, llama, tokenizer

from experts import detection
from experts.evidence import OcrLines
from lav2.assistant.history import HISTORY_TURNS, newest_turns
from lav2.assistant.service import Assistant
from lav2.config import EMBEDDED
from lav2.errors import LAV2Error
from lav2.events import PromptReady, Request, Sampling, Turn
from lav2.model.adapted import AdaptedLlama
from lav2.text import prompts

GO = threading.Event()


@pytest.fixture(scope="module")
def assistant():
    model = AdaptedLlama(llama(max_position_embeddings=512), LATE).eval()
    preset = replace(EMBEDDED, template="alpaca")
    return Assistant(preset, model, model, tokenizer(), None, detection.build(""), {}, {})


def fit(assistant, history, question="w5", cancel=GO):
    request = Request(question, history=history, sampling=Sampling(max_new_tokens=20))
    return assistant._window.fit(question, "", newest_turns(history), request, cancel)


def most_that_fit(assistant, history, question="w5"):
    """By trying every number of turns."""
    room = assistant.context - 20
    for left_out in range(len(history) + 1):
        prompt = prompts.build("alpaca", question, "", history[left_out:])
        if assistant.count_tokens(prompt) <= room:
            return prompt, assistant.count_tokens(prompt), len(history) - left_out
    raise AssertionError("not even the question fits")


@pytest.mark.parametrize("sizes", [[], [3], [9] * 150, [1] * 150, [200, 1, 200, 1, 200, 1], [600], [5, 600, 5, 5]])
def test_the_newest_turns_that_fit_are_kept_as_many_as_before(assistant, sizes):
    history = tuple(Turn(f"w{4 + i % 40}", "w7 " * size) for i, size in enumerate(sizes))
    cleaned = tuple(Turn(turn.question, turn.answer.strip()) for turn in history)
    assert fit(assistant, history) == most_that_fit(assistant, cleaned)


def test_a_long_conversation_is_counted_once_from_its_newest_turn(assistant, monkeypatch):
    """800 turns were counted again for each turn: 16 s."""
    counted, count = [], assistant.count_tokens
    monkeypatch.setattr(assistant, "count_tokens", lambda text: counted.append(len(text)) or count(text))
    prompt, used, kept = fit(assistant, (Turn("w5 " * 9, "w6 " * 9),) * 800)
    assert 0 < kept < 40 and used <= assistant.context and "w6" in prompt
    assert len(counted) < 100 and sum(counted) < 100_000  # characters; the conversation has 43,000, context for 1,500


def test_of_an_endless_conversation_only_the_newest_part_is_looked_at(monkeypatch):
    looked = []
    monkeypatch.setattr(prompts, "clean", lambda text: looked.append(len(text)) or text)
    huge = (Turn("q", "x" * 30_000_000),)
    assert newest_turns(huge * 3) == () and looked == []
    recent = (Turn("q", "a"),) * 5
    assert newest_turns(huge + recent) == recent
    assert len(newest_turns((Turn("q", "a"),) * 100_000)) == HISTORY_TURNS


def test_one_who_has_left_is_not_counted_for(assistant, monkeypatch):
    gone = threading.Event()
    gone.set()
    counted, count = [], assistant.count_tokens
    monkeypatch.setattr(assistant, "count_tokens", lambda text: counted.append(text) or count(text))
    assert fit(assistant, (Turn("w5", "w6"),) * 100, cancel=gone)[2] == 0
    assert len(counted) == 1


def test_a_question_that_does_not_fit_alone_is_told_with_its_numbers(assistant):
    with pytest.raises(LAV2Error, match=r"The question needs \d+ tokens and the answer may take 20; .* has 512"):
        fit(assistant, (), "w5 " * 600)


def test_long_findings_shrink_and_refuse_no_question(assistant):
    lines = OcrLines(
        np.array([[[0, 20 * n], [90, 20 * n], [90, 20 * n + 15], [0, 20 * n + 15]] for n in range(400)], np.float32),
        np.full(400, 0.9, np.float32),
        tuple(f"w{4 + n % 40} w9 w8" for n in range(400)),
        0.1,
        (100, 8000),
    )
    for words in (1, 60, 120, 240, 300):
        asked = Request("w5 " * words, evidence={"ocr": lines}, sampling=Sampling(max_new_tokens=1000))
        most = assistant.context - assistant.context // 4  # a quarter is kept for the answer, however long it may be
        ready = next(event for event in assistant.answer(asked, GO) if isinstance(event, PromptReady))
        assert ready.tokens <= most and ready.left_out
