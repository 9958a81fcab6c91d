"""An adapter on the Hub: what is sent, its card, and what comes back by name. Against a local server."""

import argparse
import json
import re
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from hub_folders import ADAPTER
from safetensors.torch import save_file
from tiny import LATE, VISION, adapted, llama, tokenizer

from lav2.assistant import service
from lav2.assistant.loading import load_adapted
from lav2.cli.main import main
from lav2.errors import LAV2Error
from lav2.hub import fetch, rules
from lav2.model import checkpoint
from lav2.model.llm import base_identity

pytest_plugins = ["hub_folders"]

ROOT = Path(__file__).resolve().parent.parent


# ---------------------------------------------------------------- an adapter


def test_an_adapter_comes_back_by_name_as_it_went(hub, folder):
    assert main(["publish", "adapter", str(folder), "someone/cat", *ADAPTER]) == 0
    got = fetch.adapter_folder("someone/cat")
    assert {file.name for file in got.iterdir()} == {"config.json", "adapter.safetensors"}
    reported = []
    loaded = checkpoint.load(got, llama(), tokenizer(), reported.append)
    wanted = checkpoint.load(folder, llama(), tokenizer())
    for name, tensor in wanted.adapter_parameters().items():
        torch.testing.assert_close(loaded.adapter_parameters()[name], tensor, rtol=0, atol=0)
    assert not reported and fetch.adapter_folder("someone/cat@main") == got


def test_its_card_has_what_the_hub_reads_and_no_folder_of_this_machine(hub, folder, tmp_path):
    head = "---\nlanguage: [en]\ndatasets: [flickr8k]\ntags: [cats]\n---\n"
    (folder / "README.md").write_text(f"{head}# Cats\n\nIts text.\n")
    scores = {"command": "python -m lav2 evaluate vqa x", "data": {"file": "/x/vqa.json"},
              "scores": {"accuracy": 0.25, "by": {"yes/no": 0.5, "interval": [0.1, 0.2]}}}  # fmt: skip
    (tmp_path / "scores.json").write_text(json.dumps(scores))
    command = ["publish", "adapter", str(folder), "someone/cat", *ADAPTER, "--scores", str(tmp_path / "scores.json")]
    assert main(command) == 0
    files = hub.repositories["model", "someone/cat"]["files"]
    assert set(files) == {"README.md", "config.json", "adapter.safetensors", ".gitattributes"}
    text = files["README.md"].decode()
    head = rules.front_matter(text)
    assert head["base_model"] == "someone/tiny-llama" and head["base_model_relation"] == "adapter"
    assert (head["license"], head["language"], head["datasets"]) == ("apache-2.0", ["en"], ["flickr8k"])
    assert (head["pipeline_tag"], head["library_name"], head["tags"]) == ("image-text-to-text", "lav2", ["cats"])
    (index,) = head["model-index"]
    values = {m["name"]: m["value"] for result in index["results"] for m in result["metrics"]}
    assert index["name"] == "cat" and values == {"accuracy": 0.25, "by yes/no": 0.5}
    assert "Its text." in text and 'from_pretrained("someone/cat")' in text
    assert b"secret-project" not in files["config.json"]


def test_a_card_without_a_licence_or_base_is_refused(folder, capsys):
    assert main(["publish", "adapter", str(folder), "someone/cat", "--dry-run"]) == 1
    assert "--licence" in capsys.readouterr().err
    config = json.loads((folder / "config.json").read_text())
    config["base"]["name"] = "/home/me/llama"
    (folder / "config.json").write_text(json.dumps(config))
    assert main(["publish", "adapter", str(folder), "someone/cat", "--dry-run", *ADAPTER]) == 1
    assert "--base-model" in capsys.readouterr().err


def test_the_code_on_the_card_runs(hub, folder, tmp_path, monkeypatch, capsys):
    from types import SimpleNamespace

    from PIL import Image

    main(["publish", "adapter", str(folder), "someone/cat", *ADAPTER])
    text = hub.repositories["model", "someone/cat"]["files"]["README.md"].decode()
    code = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    Image.new("RGB", (4, 4)).save(tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    loaded = []

    def load(settings, **options):
        loaded.append(settings)
        said = lambda request: iter([SimpleNamespace(answer=f"{request.question} {request.experts}")])  # noqa: E731
        return SimpleNamespace(experts=("ocr",), answer=said)

    monkeypatch.setattr(service.Assistant, "load", load)
    capsys.readouterr()
    exec(code[1], {})
    assert capsys.readouterr().out.strip() == "What does the sign say? ('ocr',)"
    assert loaded[0].adapter == str(fetch.adapter_folder("someone/cat")) and len(code[1].splitlines()) <= 10


@pytest.mark.parametrize("name, task", [("caption", "image-to-text"), ("chat", "image-text-to-text")])
def test_the_shipped_adapters_have_a_card_that_will_do(capsys, name, task):
    assert main(["publish", "adapter", str(ROOT / "assets" / name), "someone/lav2", "--dry-run"]) == 0
    said = capsys.readouterr().out
    head = yaml.safe_load("\n".join(line[2:] for line in said.split("metadata of the card:\n")[1].splitlines()))
    assert (head["base_model"], head["pipeline_tag"]) == ("HuggingFaceTB/SmolLM2-135M-Instruct", task)
    scores = {m["name"] for index in head.get("model-index", []) for r in index["results"] for m in r["metrics"]}
    assert scores == ({"BLEU-4", "CIDEr-D"} if name == "caption" else {"everyday accuracy", "VQA accuracy"})


@pytest.mark.parametrize("what", ["architecture", "tokenizer"])
def test_an_adapter_of_another_model_is_refused_over_the_network_as_on_disk(hub, folder, what):
    main(["publish", "adapter", str(folder), "someone/cat", *ADAPTER])
    other = {"architecture": (llama(num_hidden_layers=5), tokenizer()), "tokenizer": (llama(), tokenizer(63))}[what]
    for place in (folder, fetch.adapter_folder("someone/cat")):
        with pytest.raises(LAV2Error, match=f"belongs to someone/tiny-llama; its {what} differs") as caught:
            checkpoint.load(place, *other)
        assert "Load the language model" in caught.value.next_step


def test_an_image_encoder_of_ones_own_goes_along_and_another_is_refused(hub, tmp_path):
    encoder, place = tmp_path / "encoder.safetensors", tmp_path / "run"
    save_file({"w": torch.ones(2)}, encoder)
    model = adapted(LATE)
    model.vision_config = type(VISION)(**{**vars(VISION), "weights": str(encoder)})
    checkpoint.save(model, place, base_identity(llama(), tokenizer(), "someone/tiny-llama"), {})
    assert main(["publish", "adapter", str(place), "someone/cat", *ADAPTER]) == 0
    files = hub.repositories["model", "someone/cat"]["files"]
    assert files["encoder.safetensors"] == encoder.read_bytes() and str(tmp_path).encode() not in files["config.json"]
    got = fetch.adapter_folder("someone/cat")
    assert checkpoint.read_vision(got).weights == str(got / "encoder.safetensors")
    copied = shutil.copytree(got, tmp_path / "copied")
    save_file({"w": torch.zeros(2)}, copied / "encoder.safetensors")
    with pytest.raises(LAV2Error, match="another image encoder"):
        load_adapted(str(copied), llama(), tokenizer(), print, None)
    load_adapted(str(got), llama(), tokenizer(), print, None)


@pytest.mark.parametrize(
    "files, message",
    [({"config.json": b'{"model_type": "llama"}', "model.safetensors": b"x" * 99}, "is no adapter of this project"),
     ({"README.md": b""}, "there is no config.json"), (None, "There is no folder someone/thing, and the Hub")],
    ids=["a language model", "something else", "nothing"],
)  # fmt: skip
def test_what_is_no_adapter_is_told_before_anything_large_is_fetched(hub, capsys, files, message):
    if files is not None:
        hub.made("someone/thing", files=files)
    assert main(["ask", "photo.jpg", "What?", "--adapter", "someone/thing"]) == 1
    said = capsys.readouterr().err
    assert message in said and "next: " in said
    assert not [line for line in hub.requests if "model.safetensors" in line]


def test_without_the_network_the_copy_of_last_time_is_used(hub, folder, monkeypatch):
    main(["publish", "adapter", str(folder), "someone/cat", *ADAPTER])
    got = fetch.adapter_folder("someone/cat")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # nobody listens there
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)  # between six tries
    assert fetch.adapter_folder("someone/cat") == got
    with pytest.raises(LAV2Error, match="could not be reached"):
        fetch.adapter_folder("someone/dog")


def test_every_option_that_reads_an_adapter_takes_a_name(hub, folder):
    main(["publish", "adapter", str(folder), "someone/cat", *ADAPTER])
    got = fetch.adapter_folder("someone/cat")
    options = argparse.Namespace(command="train", adapter="someone/cat", caption_adapter=None, init=Path("someone/cat"))
    fetch.resolve(options)
    assert (options.adapter, options.caption_adapter, options.init) == (str(got), None, got)
    with pytest.raises(LAV2Error, match="writes into the folder"):
        fetch.resolve(argparse.Namespace(command="phrases", adapter="someone/cat"))


def test_a_folder_is_never_taken_for_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    assert [fetch.is_name(s) for s in ("someone/cat", "runs/missing", "./a", "/a/b", "assets:chat", "cache:a/b")] == [
        True, False, False, False, False, False,
    ]  # fmt: skip
