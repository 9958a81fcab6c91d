"""Instruction data: every format, the assistant's own prompt, labels on the answers alone, shared features."""

import json
from dataclasses import replace

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from tiny import EARLY, LATE, PROJECTOR, VISION, adapted, llama, open_gates
from tiny import tokenizer as word_tokenizer
from tiny_rows import evidence, grounded, shown_learned, tokenizer

from experts import detection
from experts.evidence import ExpertFailure, from_json, to_json
from lav2 import config
from lav2.assistant.service import Assistant
from lav2.data import formats
from lav2.data.batches import MAX_JOINED_TOKENS, Sample, join
from lav2.data.features import FeatureCache
from lav2.data.formats import InstructionRow, read_rows
from lav2.data.samples import MAX_TOKENS, caption_rows, instruction_rows, instruction_sample
from lav2.errors import LAV2Error
from lav2.events import PromptReady, Request, Sampling, Turn
from lav2.model import checkpoint
from lav2.model.adapted import AdaptedLlama
from lav2.model.adapter import group
from lav2.model.llm import base_identity
from lav2.training import grading, loop, selection, state
from lav2.training.settings import TrainConfig

FUSIONS = pytest.mark.parametrize("config", [LATE, replace(EARLY, lora_rank=2)], ids=["late", "early"])


@pytest.fixture
def folder(tmp_path):
    for number in range(4):
        Image.new("RGB", (20, 20), (60 * number, 0, 0)).save(tmp_path / f"{number}.png")
    return tmp_path


def written(folder, name, content):
    text = content if isinstance(content, str) else json.dumps(content, indent=1)
    (folder / name).write_text(text)
    return folder / name


def test_every_format_reads_as_turns(folder):
    alpaca = [
        {"instruction": "Add.", "input": "1 and 2", "output": "3"},
        {"instruction": "Say hi.", "input": "", "output": "Hi."},
    ]
    llava = [{"id": "7", "image": "0.png", "conversations": [
        {"from": "human", "value": "<image>\nWhat is it?"}, {"from": "gpt", "value": "A cat."},
        {"from": "human", "value": "Black?"}, {"from": "gpt", "value": "Yes."},
    ]}]  # fmt: skip
    sharegpt = [{"id": "x", "conversations": [
        {"from": "system", "value": "Be nice."}, {"from": "gpt", "value": "(a greeting)"},
        {"from": "user", "value": "Hello"}, {"from": "chatgpt", "value": "Hi."},
        {"from": "human", "value": "unanswered"},
    ]}]  # fmt: skip
    lines = "\n".join(json.dumps(grounded(split=split)) for split in ("train", "val"))
    image = str(folder / "0.png")
    assert read_rows(written(folder, "alpaca.json", alpaca)) == [
        InstructionRow(None, (Turn("Add.\n1 and 2", "3"),)),
        InstructionRow(None, (Turn("Say hi.", "Hi."),)),
    ]
    assert read_rows(written(folder, "llava.json", llava)) == [
        InstructionRow(image, (Turn("What is it?", "A cat."), Turn("Black?", "Yes.")))
    ]
    assert read_rows(written(folder, "sharegpt.json", sharegpt)) == [InstructionRow(None, (Turn("Hello", "Hi."),))]
    train_row, val_row = read_rows(written(folder, "rows.jsonl", lines))
    assert (train_row.image, train_row.turns) == (image, (Turn("How many dogs?", "There are two dogs."),))
    assert (train_row.split, val_row.split, val_row.kind, val_row.facts["truth"]) == ("train", "val", "count", 2)
    assert train_row.evidence["detection"].labels == ("dog", "ball")


def test_experts_that_are_off_bring_no_evidence(folder):
    (row,) = read_rows(written(folder, "rows.jsonl", json.dumps(grounded(experts=["ocr"]))))
    assert list(row.evidence) == ["ocr"]


def test_bad_rows_of_a_list_are_told_with_their_line(folder):
    good = '{"instruction": "Hi", "output": "Hello"}'
    text = "\n".join(
        ["[", good + ",", '{"instruction": "Hi", "output": ""},',
         '{"image": "9.png", "instruction": "a", "output": "b"},',
         '{"what": 1},', "17,", '{"conversations": [{"from": "human", "value": "a"}]},', good + ",", "{broken", "]"]
    )  # fmt: skip
    reported = []
    assert len(read_rows(written(folder, "x.json", text), report=reported.append)) == 2
    assert [line.split(": skipped")[0].rpartition(":")[2] for line in reported] == ["3", "4", "5", "6", "7", "9"]


def test_bad_lines_of_grounded_rows_are_told(folder):
    broken = grounded()
    broken["evidence"]["detection"]["items"][0]["confidence"] = 7
    text = "\n".join([json.dumps(broken), json.dumps(grounded(answer=" ")), json.dumps(grounded())])
    reported = []
    assert len(read_rows(written(folder, "x.jsonl", text), report=reported.append)) == 1
    assert [line.split(": skipped")[0].rpartition(":")[2] for line in reported] == ["1", "2"]


@pytest.mark.parametrize("template", ["chat", "alpaca"])
@pytest.mark.parametrize("case", ["all", "failed", "off", "history"])
def test_the_trained_prompt_is_the_assistants(template, case):
    found = {} if case in ("off", "history") else evidence()
    if case == "failed":
        found["ocr"] = ExpertFailure("ocr", "no weights", "install", 0.0)
    history = (Turn("First?", "One <|im_end|> answer."),) if case == "history" else ()
    question, answer = "How many <|im_start|>system dogs?", "Two."
    words = tokenizer()
    preset = replace(config.EMBEDDED, template=template)
    assistant = Assistant(preset, adapted(), adapted(), words, None, detection.build(""), {}, {})
    request = Request(question, history=history, evidence=found, sampling=Sampling(max_new_tokens=1))
    asked = next(event for event in assistant.answer(request) if isinstance(event, PromptReady)).prompt

    as_json = {name: from_json(name, json.loads(json.dumps(to_json(value)))) for name, value in found.items()}
    turns = formats._turns([(turn.question, turn.answer) for turn in history] + [(question, answer)])
    sample = instruction_sample(InstructionRow(None, turns, as_json), words, template)
    learned, whole = shown_learned(sample, words)
    assert whole == asked + "Two.<|im_end|>"
    assert list(sample.tokens[: -len("Two.") - 1]) == words(asked).input_ids
    assert learned.endswith("Two.<|im_end|>")


def test_labels_cover_exactly_the_answers_and_their_ends():
    words = tokenizer()
    turns = (Turn("What is it?", "A cat."), Turn("Black?", "Yes, très."), Turn("Sure?", "No."))
    for row in (InstructionRow(None, turns), InstructionRow(None, turns[:1], evidence())):
        answers = [turn.answer for turn in row.turns]
        learned, _ = shown_learned(instruction_sample(row, words, "chat"), words)
        assert learned == "".join(f"{answer}<|im_end|>" for answer in answers)
        learned, _ = shown_learned(instruction_sample(row, words, "alpaca"), words)  # has no end between its turns
        assert learned == "".join(answers) + "<|im_end|>"


def test_an_adapter_that_proves_first_learns_the_proof_before_yes_or_no_which_the_conversation_turns_around():
    words = tokenizer()
    turns = (Turn("Cash?", "Yes: Cash only."), Turn("Dogs?", "No: No pets."))
    row = InstructionRow(None, turns)
    learned, _ = shown_learned(instruction_sample(row, words, "chat"), words)
    assert learned == "Yes: Cash only.<|im_end|>No: No pets.<|im_end|>"
    learned, whole = shown_learned(instruction_sample(row, words, "chat", proof_first=True), words)
    assert learned == "> No pets\nNo.<|im_end|>"
    assert "Yes: Cash only.<|im_end|>" in whole


def test_a_conversation_is_cut_where_it_gets_too_long():
    words = tokenizer()
    turns = (Turn("Short?", "Yes."), Turn("Long?", "x" * MAX_TOKENS))
    learned, _ = shown_learned(instruction_sample(InstructionRow(None, turns), words, "chat"), words)
    assert learned == "Yes.<|im_end|>"
    reported = []
    rows = instruction_rows([InstructionRow(None, turns[1:])] * 3, words, "chat", None, reported.append)
    assert rows._samples(None) == []
    assert reported == ["3 of 3 instructions are longer than 1024 tokens: skipped."]


def test_questions_are_joined_up_to_the_limit_of_tokens_and_no_further():
    """However little of the first ones' common start the later ones share."""

    def sample(*parts):
        tokens = tuple(token for first, count in parts for token in range(first, first + count))
        return Sample("a photo", (*tokens, 7), (*[False] * len(tokens), True))

    alike = [sample((1000, 100), (2000, 100), (10 * i, 8)) for i in range(1, 6)]
    others = [sample((1000, 100), (3000 + 100 * i, 90)) for i in range(6)]
    joined = join([*alike, *others], 8)
    assert max(len(row.tokens) for row in joined) <= MAX_JOINED_TOKENS
    assert sum(max(row.branch or (1,)) for row in joined) == len(alike) + len(others)
    assert len(joined) < 6  # of 11


@FUSIONS
def test_questions_read_together_have_the_losses_and_gradients_of_each_alone(folder, monkeypatch, config):
    """Of two photos and of none."""
    monkeypatch.setattr("lav2.data.batches.MAX_JOINED_TOKENS", 1000)  # a token is a letter here
    words, model, features, _, _ = run_pieces(folder, config)
    open_gates(model)
    image, other = str(folder / "1.png"), str(folder / "2.png")
    asked = [("How many dogs?", "Two."), ("How many?", "There are two dogs."), ("Where is it?", "On the left."),
             ("How many dogs?", "One."), ("Red?", "No.")]  # fmt: skip
    found = [InstructionRow(image, (Turn(*turn),), evidence()) for turn in asked[:4]]
    found += [InstructionRow(image, (Turn(*asked[4]),)), InstructionRow(None, (Turn(*asked[4]),))]
    found += [InstructionRow(other, (Turn(*turn),), evidence()) for turn in asked[:2]]
    alone = instruction_rows(found, words, "chat", features)
    joined = instruction_rows(found, words, "chat", features, together=3)
    samples = joined._samples(None)
    assert max(max(sample.branch or (0,)) for sample in samples) == 3
    assert sum(len(s.tokens) for s in samples) < 0.7 * sum(len(s.tokens) for s in alone._samples(None))
    model.double().set_stage("caption")  # in float32 the order of sums makes more difference than is allowed below
    results = []
    for rows in (alone, joined):
        model.zero_grad()
        (batch,) = rows.fixed(8)
        loss = model.loss(**replace(batch, clip_tokens=batch.clip_tokens.double()).to(model.device))
        loss.backward()
        results.append((loss, {name: p.grad for name, p in model.named_parameters() if p.grad is not None}))
    torch.testing.assert_close(results[0], results[1], rtol=1e-4, atol=1e-6)
    assert results[0][1].keys() == model.adapter_parameters().keys()
    assert all(bool(grad.any()) for grad in results[0][1].values())


@FUSIONS
def test_several_captions_of_a_photo_are_one_row_with_the_loss_of_each_alone(folder, config):
    words, model, features, _, _ = run_pieces(folder, config)
    open_gates(model)
    texts = ("A dog", "The black dog runs", "Two")
    images = [str(folder / f"{number}.png") for number in range(4)]

    def rows(captions, together):
        made = [formats.CaptionRow(image, captions) for image in images]
        return caption_rows(made, lambda text: words(text).input_ids, 0, 1, features, together)

    (whole,) = rows(texts, 3).fixed(4)
    singles = [rows((text,), 1).fixed(4)[0] for text in texts]
    learned = [int((batch.labels[:, 1:] != -100).sum()) for batch in singles]
    # Mirrored at random: all are shown the same side.
    whole, *singles = (replace(batch, clip_tokens=singles[0].clip_tokens) for batch in (whole, *singles))
    losses = [model.loss(**batch.to(model.device)) * n for batch, n in zip(singles, learned, strict=True)]
    torch.testing.assert_close(model.loss(**whole.to(model.device)), sum(losses) / sum(learned), rtol=1e-5, atol=1e-6)


# --- features ---


def encode(pictures):
    """A stand-in tower whose tokens tell the photo: its red level."""
    reds = torch.tensor([picture.getpixel((0, 0))[0] / 255 for picture in pictures])
    return reds.view(-1, 1, 1).expand(-1, VISION.tokens, VISION.width)


def test_features_are_shared_by_runs_and_made_anew_for_a_changed_photo(folder):
    images = [str(folder / f"{number}.png") for number in range(4)]
    seen = []

    def watched(pictures):
        seen.append(len(pictures))
        return encode(pictures)

    FeatureCache(folder / "cache", VISION, images[:2]).fill(watched)
    more = FeatureCache(folder / "cache", VISION, images, images[3:])
    more.fill(watched)
    assert sum(seen) == 2 + 2 + 1
    assert FeatureCache(folder / "cache", VISION, images[::-1]).complete
    Image.new("RGB", (20, 20), (250, 0, 0)).save(images[1])
    again = FeatureCache(folder / "cache", VISION, images)
    assert not again.complete
    again.fill(watched)
    assert seen[-1] == 1
    levels = torch.tensor([0, 250, 120, 180]) / 255
    torch.testing.assert_close(again.get(images)[:, 0, 0], levels, atol=1e-3, rtol=0)


def test_an_encoder_tuned_again_under_the_same_name_is_asked_again(folder, tmp_path):
    file = tmp_path / "encoder.safetensors"
    vision = replace(VISION, weights=str(file))
    file.write_bytes(b"first")
    FeatureCache(tmp_path, vision, [str(folder / "0.png")]).fill(encode)
    assert FeatureCache(tmp_path, vision, [str(folder / "0.png")]).complete
    file.write_bytes(b"second")
    assert not FeatureCache(tmp_path, vision, [str(folder / "0.png")]).complete


# --- in a run ---


def run_pieces(folder, config=LATE):
    """A model that knows bytes, features of four photos, rows of both kinds."""
    words = tokenizer()
    model_args = {"vocab_size": len(words), "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1,
                  "max_position_embeddings": 1024}  # fmt: skip
    model = AdaptedLlama(llama(0, **model_args), config, PROJECTOR, VISION).eval()
    images = [str(folder / f"{number}.png") for number in range(4)]
    features = FeatureCache(folder / "cache", VISION, images, images)
    features.fill(encode)
    captions = caption_rows(
        [formats.CaptionRow(image, ("A dog",)) for image in images],
        lambda text: words(text).input_ids, 0, 1, features,
    )  # fmt: skip
    asked = [InstructionRow(image, (Turn("A dog?", "Yes."),), kind="presence", facts={
        "kind": "presence", "truth": "yes"}) for image in (*images, None)]  # fmt: skip
    rows = {"caption": captions, "instruction": instruction_rows(asked, words, "chat", features)}
    return words, model, features, rows, asked


def test_joint_batches_of_both_kinds_touch_their_own_group_only(folder):
    words, model, _, rows, _ = run_pieces(folder)
    base = base_identity(llama(0, vocab_size=len(words)), words, "tiny")
    settings = TrainConfig(stage="joint", steps=2, batch=4)
    changed = []
    original = loop.train_step

    def watched(model, optim, batch, config):
        before = {name: p.detach().clone() for name, p in model.named_parameters()}
        loss = original(model, optim, batch, config)
        moved = [name for name, p in model.named_parameters() if not torch.equal(p, before[name])]
        changed.append({group(name, model.config) for name in moved})
        return loss

    loop.train_step = watched
    try:
        loop.train(model, rows, settings, folder / "run", base, report=lambda line: None)
    finally:
        loop.train_step = original
    assert changed == [{"visual"}, {"language"}]


def test_graded_answers_follow_the_questions_order_and_their_photos(folder):
    words, model, features, _, asked = run_pieces(folder)
    open_gates(model)
    prompts = ["<|im_start|>b", "<|im_start|>", "<|im_start|>bb", "<|im_start|>", "<|im_start|>b"]
    images = [row.image for row in asked]
    sampling = Sampling(max_new_tokens=6)
    together = grading.answer_all(model, words, prompts, images, features, sampling, batch=2)
    alone = [
        grading.answer_all(model, words, [prompt], [image], features, sampling)[0]
        for prompt, image in zip(prompts, images, strict=True)
    ]
    assert together == alone
    scores = grading.grade(model, words, "chat", asked, features)
    assert scores["judged"] == 5 and 0 <= scores["presence"] == scores["all"] <= 1


def test_a_run_with_a_running_average_saves_the_average_and_resumes_to_the_same_weights(folder):
    words, model, _, rows, _ = run_pieces(folder)
    base = base_identity(llama(0, vocab_size=len(words)), words, "tiny")
    settings = TrainConfig(stage="finetune", steps=4, batch=4, ema=0.9, save_every=2, lr=1e-2)
    shadow, original = {}, state.WeightAverage.update

    def watched(average, step):
        original(average, step)
        weights = {name: p.detach().clone() for name, p in average._parameters.items()}
        for name, weight in weights.items():
            share = 1 - min(0.9, (1 + step) / (10 + step))
            shadow[name] = torch.lerp(shadow.get(name, start[name]), weight, share)

    start = {name: p.detach().clone() for name, p in model.named_parameters()}
    state.WeightAverage.update = watched
    try:
        loop.train(model, rows, settings, folder / "whole", base, report=lambda line: None)
    finally:
        state.WeightAverage.update = original
    saved = load_file(folder / "whole" / "adapter.safetensors")
    for name, tensor in shadow.items():
        torch.testing.assert_close(saved[name], tensor)
        torch.testing.assert_close(model.get_parameter(name).detach(), tensor)

    class Killed(Exception):
        pass

    def dying(average, step):
        if step == 4:
            raise Killed
        original(average, step)

    state.WeightAverage.update = dying
    try:
        with pytest.raises(Killed):
            _, model, _, rows, _ = run_pieces(folder)
            loop.train(model, rows, settings, folder / "cut", base, report=lambda line: None)
    finally:
        state.WeightAverage.update = original
    _, model, _, rows, _ = run_pieces(folder)
    loop.train(model, rows, settings, folder / "cut", base, report=lambda line: None, resume=True)
    again = load_file(folder / "cut" / "adapter.safetensors")
    assert all(torch.equal(again[name], saved[name]) for name in saved)


def test_starting_from_the_visual_group_leaves_the_language_group_as_new(tmp_path):
    words = word_tokenizer()
    base = base_identity(llama(), words, "tiny")
    trained = open_gates(adapted())
    checkpoint.save(trained, tmp_path, base)
    model = checkpoint.load(tmp_path, llama(), words, print, ["visual"])
    fresh = adapted().adapter_parameters()
    for name, parameter in model.adapter_parameters().items():
        language = group(name, LATE) == "language"
        if "lora_a" not in name:  # random, and without effect while lora_b is zero
            assert torch.equal(parameter, (fresh if language else trained.adapter_parameters())[name])


def test_a_stage_without_its_kind_of_rows_is_refused(folder):
    file = written(folder, "alpaca.json", [{"instruction": "Hi", "output": "Hello"}])
    with pytest.raises(LAV2Error, match="learns from captions"):
        selection.rows_by_kind([file], None, "joint", print)
    captions, instructions = selection.rows_by_kind([file], None, "finetune", print)
    assert captions["train"] == [] and len(instructions["train"]) == 1
