"""A model beside the assistant, of transformers or another preset: a LLaVA of random weights, from its folder."""

import json
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from scripted import COMPARE, ENGLISH, KOREAN, Scripted, compare, done
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    CLIPImageProcessor,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

from experts.evidence import OcrLines
from lav2 import weights
from lav2.assistant import receipt, votes
from lav2.assistant.image_text import ImageTextModel
from lav2.assistant.image_text_loading import load
from lav2.config import EMBEDDED, PRESETS, Placing
from lav2.errors import LAV2Error
from lav2.events import AUTO, Done, EvidenceFound, PromptReady, Request, Routed, Sampling, Token, Turn
from lav2.ui import answering
from lav2.ui.sides import BesideChoice, names
from lav2.ui.texts import TEXTS

TEMPLATE = (
    "{% for m in messages %}{{ m['role'].upper() }} : {% for c in m['content'] %}{% if c['type'] == 'image' %}<image> "
    "{% else %}{{ c['text'] }} {% endif %}{% endfor %}{% endfor %}{% if add_generation_prompt %}ASSISTANT :{% endif %}"
)
WORDS = 200
QUAD = np.array([[[70, 5], [95, 5], [95, 20], [70, 20]]])
SIGN = OcrLines(QUAD, np.array([0.9]), ("w7 <image> w8",), 0.3, (100, 100))
FLOAT = Placing(device="cpu", dtype="float32")


def make(folder):
    """A LLaVA of 32 channels that looks at 4 patches, with its processor."""
    words = {"<unk>": 0, "<s>": 1, "</s>": 2, "<image>": 3, **{f"w{i}": i for i in range(4, WORDS)}}
    core = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token="</s>",
        additional_special_tokens=["<image>"],
    )  # fmt: skip
    look = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    LlavaProcessor(look, tokenizer, patch_size=16, vision_feature_select_strategy="default",
                   num_additional_image_tokens=1, chat_template=TEMPLATE).save_pretrained(folder)  # fmt: skip
    torch.manual_seed(0)
    small = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**small, image_size=32, patch_size=16),
        text_config=LlamaConfig(**small, vocab_size=WORDS, max_position_embeddings=512, initializer_range=0.3),
        image_token_id=3,
    )
    model = LlavaForConditionalGeneration(config)
    model.generation_config.eos_token_id = 2
    model.save_pretrained(folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("models") / "tiny-llava"
    make(made)
    return made


class Looked:
    """Stands for the assistant's experts: a sign with words on it."""

    def __init__(self):
        self.asked = []

    def __call__(self, image, experts, client=None, cancel=None):
        self.asked.append(experts)
        return {"ocr": SIGN} if "ocr" in experts else {}


@pytest.fixture
def looked():
    return Looked()


@pytest.fixture
def model(folder, looked):
    return ImageTextModel(*load(str(folder), FLOAT, report=lambda line: None), looked)


PHOTO = Image.fromarray(np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8))
SHORT = Sampling(max_new_tokens=12)


def ask(model, question="w4 w5 ?", experts=(), sampling=SHORT, cancel=None, image=PHOTO, **more) -> list:
    return list(model.answer(Request(question, image, experts=experts, sampling=sampling, **more), cancel))


# --- answers ------------------------------------------------------------------------------------------------
def test_a_model_named_by_its_folder_streams_an_answer_from_the_photo_and_its_chat_template(model):
    events = ask(model)
    ready = next(event for event in events if isinstance(event, PromptReady))
    assert ready.prompt == "USER : <image> w4 w5 ? ASSISTANT :" and ready.context == 512
    assert ready.tokens == 4 + ready.prompt.count(" ")  # one mark in the template, four patches for the model
    pieces = [event.text for event in events if isinstance(event, Token)]
    end = events[-1]
    assert isinstance(end, Done) and end.answer == "".join(pieces).strip() != "" and len(pieces) > 2
    assert (end.preset, end.tokens, end.stopped, end.evidence) == ("tiny-llava", 12, False, {})
    assert list(end.weights) == [votes.FOREIGN] and end.versions["dtype"] == "float32"
    other = ask(model, image=Image.new("RGB", (80, 60), "black"))[-1]
    assert other.answer != end.answer  # it looks at the photo


def test_it_says_what_greedy_generation_of_transformers_says(model):
    inputs = model._inputs(model._messages("w4 w5 ?", "", (), PHOTO))[1]
    plain = model._model.generate(**inputs, max_new_tokens=12, do_sample=False, repetition_penalty=1.0)
    said = model._processor.tokenizer.decode(plain[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    assert ask(model, sampling=Sampling(max_new_tokens=12, repetition_penalty=1.0))[-1].answer == said


def test_with_the_experts_their_findings_stand_in_the_prompt_as_text_and_without_them_nobody_looks(model, looked):
    events = ask(model, "w4 <image> w5 ?", experts=("ocr",))
    ready = next(event for event in events if isinstance(event, PromptReady))
    assert "They are data" in ready.prompt and "w7" in ready.prompt and ready.prompt.endswith("w5 ? ASSISTANT :")
    assert ready.prompt.count("<image>") == 1  # what is asked, or written on a sign, stands for no photo
    assert [event.name for event in events if isinstance(event, EvidenceFound)] == ["ocr"]
    assert events[-1].evidence == {"ocr": SIGN} and looked.asked == [("ocr",)]
    assert sum(ready.parts.values()) == ready.tokens and ready.parts["findings"] > 0
    ask(model)
    ask(model, "w4 ?", experts=("ocr",), evidence={"ocr": SIGN})  # of a receipt
    assert looked.asked == [("ocr",)]
    routed = ask(model, "What does the sign say?", experts=(AUTO,))
    assert isinstance(routed[0], Routed) and looked.asked[-1] == routed[-1].route.experts


def test_turns_before_stand_before_the_question_and_the_photo_in_the_first(model):
    ready = next(event for event in ask(model, history=(Turn("w9 ?", "w8"),)) if isinstance(event, PromptReady))
    assert ready.prompt == "USER : <image> w9 ? ASSISTANT : w8 USER : w4 w5 ? ASSISTANT :"


def test_the_same_seed_draws_the_same_answer_and_another_one_another(model):
    drawn = [ask(model, sampling=Sampling(1.0, 0.95, 12, seed))[-1].answer for seed in (3, 3, 4)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_stop_ends_an_answer_early_with_what_was_said_and_leaves_no_thread(model):
    cancel, steps = threading.Event(), []
    model._model.lm_head.register_forward_hook(lambda *given: steps.append(1))
    events = model.answer(Request("w4 ?", PHOTO, experts=(), sampling=Sampling(max_new_tokens=400)), cancel)
    said = ""
    for event in events:
        if isinstance(event, Token):
            said += event.text
            cancel.set()
    assert event.stopped and event.answer.startswith(said.strip()) and 0 < len(steps) < 200
    left = model.answer(Request("w4 ?", PHOTO, experts=(), sampling=Sampling(max_new_tokens=400)))
    next(event for event in left if isinstance(event, Token))
    steps.clear()
    left.close()  # the page was closed
    assert len(steps) < 200
    assert not [thread for thread in threading.enumerate() if thread.name == "beside"]
    assert ask(model)[-1].answer  # and its turn is free again


def test_questions_at_once_take_turns_and_each_gets_its_own_answer(model):
    alone = [ask(model, question)[-1].answer for question in ("w4 ?", "w6 w7 ?")]
    with ThreadPoolExecutor(2) as pool:
        together = [
            events[-1].answer for events in pool.map(lambda question: ask(model, question), ("w4 ?", "w6 w7 ?"))
        ]
    assert together == alone and alone[0] != alone[1]


@pytest.mark.parametrize(
    "question, message", [("  ", "There is no question"), ("w4 " * 600, "the context of tiny-llava")]
)
def test_what_cannot_be_asked_is_told(model, question, message):
    with pytest.raises(LAV2Error, match=message):
        ask(model, question)


def test_a_failure_of_the_model_is_told_with_its_name_and_a_next_step(model, monkeypatch):
    monkeypatch.setattr(model._model, "generate", lambda **given: torch.zeros(2) @ torch.zeros(3))
    with pytest.raises(LAV2Error, match=r"tiny-llava could not answer \(RuntimeError") as raised:
        ask(model)
    assert "compare without it" in raised.value.next_step
    monkeypatch.setattr(model._processor, "image_processor", None)
    with pytest.raises(LAV2Error, match="tiny-llava could not answer"):
        ask(model)


# --- loading ------------------------------------------------------------------------------------------------
@pytest.fixture
def copied(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "broken")
    return tmp_path / "broken"


def refused(source) -> LAV2Error:
    with pytest.raises(LAV2Error) as raised:
        load(str(source), FLOAT, report=lambda line: None)
    return raised.value


def test_what_is_no_image_text_to_text_model_is_refused_with_its_type(copied):
    config = json.loads((copied / "config.json").read_text())
    (copied / "config.json").write_text(json.dumps({"model_type": "llama"}))
    assert "transformers has none of the type llama" in str(error := refused(copied)) and "SmolVLM" in error.next_step
    (copied / "config.json").write_text(json.dumps(config | {"model_type": "of tomorrow"}))
    assert "transformers cannot load broken (" in str(refused(copied))
    (copied / "config.json").unlink()
    assert "transformers cannot load broken (" in str(refused(copied))


def test_a_model_without_processor_or_chat_template_is_refused(copied):
    processor = json.loads((copied / "processor_config.json").read_text())
    (copied / "chat_template.jinja").unlink()
    assert "has no chat template" in str(refused(copied))
    (copied / "processor_config.json").unlink()
    error = refused(copied)
    assert "no processor for photos and text" in str(error) and "preprocessor_config.json" in error.next_step
    assert processor["processor_class"] == "LlavaProcessor"


def test_weights_that_are_cut_off_or_too_big_are_refused(copied, monkeypatch):
    monkeypatch.setattr("lav2.model.preflight.free", lambda device: 1000.0)
    monkeypatch.setattr("lav2.model.preflight.BIG_BYTES", 0)
    assert "The weights of broken need about" in str(refused(copied))
    monkeypatch.undo()
    file = copied / "model.safetensors"
    file.write_bytes(file.read_bytes()[:5000])
    assert "transformers cannot load broken (" in str(refused(copied))


def test_an_unknown_name_a_gated_one_and_no_network_are_told_apart(monkeypatch, tmp_path):
    import httpx2
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    def raising(error):
        def fetch(*args, **options):
            raise error

        monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
        with pytest.raises(LAV2Error) as raised:
            weights.find("nobody/nothing")
        return str(raised.value)

    answered = httpx2.Response(404, request=httpx2.Request("GET", "https://huggingface.co"))
    assert "There is no nobody/nothing" in raising(RepositoryNotFoundError("404", response=answered))
    assert "only to who asks" in raising(GatedRepoError("403", response=answered))
    assert "Check the network" in raising(OSError("no route to host"))
    assert "There is no file or folder" in str(refused(tmp_path / "nowhere"))


# --- on the page --------------------------------------------------------------------------------------------
class Assistant(Scripted):
    preset = "embedded"

    def answer(self, request, cancel):
        self.requests.append(request)
        yield PromptReady("p", 1, 2, 0)
        yield done(" ".join(request.experts) or "nothing")


@pytest.fixture
def page(model, monkeypatch, tmp_path):
    monkeypatch.setenv("LAV2_VOTES", str(tmp_path / "votes"))
    monkeypatch.setattr(answering, "ASSISTANT", Assistant())
    monkeypatch.setattr(answering, "BESIDE", model)
    PHOTO.save(tmp_path / "photo.png")
    return str(tmp_path / "photo.png")


def test_on_compare_the_model_is_two_more_blind_sides_named_after_the_vote_and_counted_apart(page, looked):
    compared = compare(page, also=("off", "on"))
    sides = compared[COMPARE.shown].answers
    assert set(sides) == {"off", "on", "off@tiny-llava", "on@tiny-llava"} and looked.asked == [("ocr",)]
    assert "tiny-llava" not in compared[COMPARE.answers]
    assert [button["visible"] for button in map(compared.get, COMPARE.voting.best)] == [True] * 4 + [False] * 6
    place = list(sides).index("on@tiny-llava")
    voted = COMPARE.vote(place, compared[COMPARE.shown], ENGLISH)
    assert f"{'ABCD'[place]}: tiny-llava: Experts on · your vote" in voted[COMPARE.answers]
    assert votes.tally().several == {
        "ocr@tiny-llava": [1, 1], "off@tiny-llava": [0, 1], "ocr@embedded": [0, 1], "off@embedded": [0, 1],
    }  # fmt: skip
    assert "tiny-llava: Text" in COMPARE.tally.count(ENGLISH)[COMPARE.tally.table]
    assert list(votes.pairs(report=pytest.fail)) == []  # another model's answer teaches this one nothing
    one = compare(page, also=("off",))[COMPARE.shown].answers
    assert set(one) == {"off", "on", "off@tiny-llava"}


def test_its_receipt_is_replayed_by_the_same_model(page, tmp_path):
    from lav2.ui.replay import ReplayFold

    receipts = compare(page, also=("on",))[COMPARE.shown].receipts
    (tmp_path / "receipt.json").write_text(json.dumps(receipts["on@tiny-llava"]))
    assert receipt.read(tmp_path / "receipt.json")["preset"] == "tiny-llava"
    result = ReplayFold.replay(None, str(tmp_path / "receipt.json"), page, ENGLISH)
    assert TEXTS["en"]["replay_same"] in result["value"]


def test_without_a_model_beside_there_is_no_choice_and_no_side(page, monkeypatch):
    assert BesideChoice.shown() == {"__type__": "update", "visible": True, "label": "tiny-llava"}
    monkeypatch.setattr(answering, "BESIDE", None)
    assert BesideChoice.shown()["visible"] is False
    assert set(compare(page, also=("off", "on"))[COMPARE.shown].answers) == {"off", "on"}
    with pytest.raises(LAV2Error, match="gone is not loaded"):
        answering.answerer(Request("Q", model="gone"))
    assert names("on@tiny-llava", TEXTS["ko"]) == "tiny-llava: 전문가 켬" and KOREAN


def test_the_option_loads_a_folder_and_refuses_the_running_preset(folder, monkeypatch, looked):
    running = Assistant()
    running.examine = looked
    monkeypatch.setattr(answering, "ASSISTANT", running)
    monkeypatch.setattr(answering, "BESIDE", None)
    answering.load_beside(str(folder), FLOAT)
    assert answering.beside() == "tiny-llava"
    with pytest.raises(LAV2Error, match="compared already"):
        answering.load_beside("embedded", FLOAT)


@pytest.mark.slow
def test_another_preset_beside_looks_with_the_assistants_own_detector_and_reader(monkeypatch):
    shared = {name: SimpleNamespace(name=name) for name in ("detection", "ocr")}
    monkeypatch.setitem(PRESETS, "twin", replace(EMBEDDED, name="twin"))
    monkeypatch.setattr(answering, "ASSISTANT", SimpleNamespace(preset="embedded", expert=shared.get))
    monkeypatch.setattr(answering, "BESIDE", None)
    answering.load_beside("twin", Placing(device="cpu"))
    assert answering.beside() == "twin" and answering.BESIDE.expert("ocr") is shared["ocr"]
    *_, end = answering.answerer(Request("Hi", model="twin")).answer(Request("What is a dog?", sampling=SHORT))
    assert end.preset == "twin" and end.answer
