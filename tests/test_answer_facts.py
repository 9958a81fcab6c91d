"""What an answer tells of its making: findings without room, the prompt's parts, the rule that answered."""

from dataclasses import replace

import numpy as np
import pytest

from experts.evidence import Caption, OcrLines
from lav2.config import EMBEDDED, PRESETS
from lav2.events import Done, PromptReady, Request, Sampling, Token, Turn
from lav2.text.language import SENTENCES
from lav2.ui import state, texts, views


@pytest.fixture(scope="module")
def assistant():
    from tiny import LATE, llama, tokenizer

    from experts import detection
    from lav2.assistant.loading import fast_backends
    from lav2.assistant.service import Assistant
    from lav2.model.adapted import AdaptedLlama

    model = AdaptedLlama(llama(), LATE).eval()
    chat, captioner, _ = fast_backends(model, model)
    return Assistant(
        replace(EMBEDDED, template="alpaca"), chat, captioner, tokenizer(), None, detection.build(""), {}, {}
    )


def events(assistant, question, **changes):
    return list(assistant.answer(Request(question, sampling=Sampling(max_new_tokens=3), **changes)))


def text_of(lines):
    quads = np.array([[[0, y], [90, y], [90, y + 9], [0, y + 9]] for y in range(0, 10 * lines, 10)])
    return OcrLines(quads, np.full(lines, 0.9), tuple(f"w5 w6 line {i}" for i in range(lines)), 0.1, (800, 10 * lines))


def test_the_numbers_of_findings_without_room_come_with_the_prompt_and_with_the_answer(assistant):
    found = events(assistant, "w5", evidence={"ocr": text_of(400)})
    ready = next(event for event in found if isinstance(event, PromptReady))
    assert 0 < len(ready.left_out) < 400 and found[-1].left_out == ready.left_out
    assert "more rows left out" in ready.prompt
    few = events(assistant, "w5", evidence={"ocr": text_of(4)})
    assert few[-1].left_out == frozenset() and "left out" not in few[-1].prompt


def test_the_prompts_parts_come_with_it(assistant):
    history = (Turn("w7 w8", "w9 w10 w11"),)
    found = events(assistant, "w5 w6", history=history, evidence={"ocr": text_of(2)})
    ready = next(event for event in found if isinstance(event, PromptReady))
    assert (ready.parts["question"], ready.parts["turns"]) == (2, 5)
    block = ready.prompt[ready.prompt.index("Findings") : ready.prompt.index("w5 w6\n\n### Response")]
    assert ready.parts["findings"] == len(block.split()) and sum(ready.parts.values()) == ready.tokens


@pytest.mark.parametrize(
    "question, rule, language",
    [
        ("¿Qué dice el cartel?", "language", "en"),
        ("왜 웃고 있어?", "language", "ko"),
        ("What does the sign say?", "no photo", "en"),
    ],
)
def test_what_a_rule_answers_runs_no_model_and_waits_for_nobody(assistant, monkeypatch, question, rule, language):
    monkeypatch.setattr(assistant, "_served", lambda *given: pytest.fail("a model was to run"))
    token, done = events(assistant, question)
    assert token == Token(SENTENCES[rule, language]) and isinstance(done, Done)
    assert (done.answer, done.rule, done.prompt, done.evidence) == (token.text, rule, "", {})


def test_findings_without_their_photo_are_asked_about_like_a_photo(assistant):
    assert events(assistant, "What does the sign say?", evidence={"ocr": text_of(1)})[-1].rule == ""


def test_a_preset_without_the_rules_keeps_its_models_own_answers(assistant, monkeypatch):
    monkeypatch.setattr(assistant, "settings", replace(assistant.settings, question_rules=False))
    assert events(assistant, "What does the sign say?")[-1].rule == ""
    assert [name for name, preset in PRESETS.items() if preset.question_rules] == ["embedded", "smollm2-hub"]


def test_a_korean_question_of_a_known_form_is_put_to_the_model_in_english(assistant):
    done = events(
        assistant, "가격이 얼마야?", evidence={"ocr": text_of(1)}, history=(Turn("안녕", SENTENCES["language", "ko"]),)
    )[-1]
    assert "What is the price?" in done.prompt and "안녕" not in done.prompt


def test_which_page_or_frame_was_looked_at_is_told_in_both_languages():
    for kind in ("page", "frame", "picture"):
        for language in ("en", "ko"):
            said = views.not_given_text(state.Findings(part=(kind, 3)), texts.TEXTS[language])
            assert "3" in said
    assert views.not_given_text(state.Findings(), texts.TEXTS["en"]) == ""


def test_likely_answers_that_a_question_has_no_use_for_are_not_told_as_without_room():
    caption = Caption("a dog on grass", 0.1, "captioner", candidates=(("dog", 0.8), ("two", 0.3)))
    found = state.Findings(evidence={"caption": caption}, left_out=frozenset({2, 3}))
    assert views.not_given_text(found, texts.TEXTS["en"]) == ""
    crowded = replace(found, left_out=frozenset({1, 2, 3}))
    assert "1 of the findings" in views.not_given_text(crowded, texts.TEXTS["en"])
