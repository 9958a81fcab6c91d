"""The rooms of the house and the arrows between them (each room imports only what stands above it)."""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ARROWS = {  # room -> rooms that it may import
    "experts.evidence": set(),
    "experts.caption": {"experts.evidence"},
    "experts.detection": {"experts.evidence"},
    "experts.ocr": {"experts.evidence", "experts.craft"},
    "experts.craft": set(),
    "experts.render": {"experts.evidence"},
    "experts.orchestrator": {"experts.evidence"},
    "experts.train_detector.data": {"experts.evidence", "experts.detection"},
    "experts.train_detector.model": {"experts.evidence", "experts.detection"},
    "lav2.errors": set(),
    "lav2.line": {"lav2.errors"},
    "lav2.config": {"lav2.errors"},
    "lav2.weights": {"lav2.errors", "lav2.config"},
    "lav2.image": {"lav2.errors"},
    "lav2.prompts": {"lav2.errors"},
    "lav2.events": {"lav2.errors", "lav2.prompts", "experts.evidence"},
    "lav2.receipt": {"lav2.events", "lav2.prompts", "lav2.errors", "lav2.routing", "experts.evidence"},
    "lav2.claims": {"experts.evidence", "experts.render"},
    # the prompt's evidence, for assistant and training
    "lav2.grounding": {"lav2.claims", "lav2.routing", "experts.evidence", "experts.render"},
    "lav2.routing": {"experts.evidence"},
    "lav2.votes": {"lav2.errors", "lav2.weights"},
    "lav2.openai_api": {"lav2.events", "lav2.errors", "lav2.image", "lav2.openai_schema", "experts.evidence"},
    "lav2.openai_schema": {
        "lav2.events", "lav2.errors", "lav2.image", "lav2.prompts", "lav2.routing", "experts.evidence",
    },
    "lav2.metrics": {"lav2.errors"},
    "lav2.phrasings": set(),
    # rows of evidence, in the same words
    "lav2.instruct": {"lav2.claims", "lav2.grounding", "lav2.errors", "lav2.phrasings", "experts.evidence"},
    "lav2.adapter": {"lav2.config"},
    "lav2.vision": {"lav2.config", "lav2.weights", "lav2.errors"},
    "lav2.phrases": {"lav2.config", "lav2.errors", "lav2.image", "lav2.metrics"},
}
# what boxes and captions tell, as instructions read them
ARROWS["lav2.concepts"] = {"lav2.vision", "lav2.instruct", "lav2.config", "lav2.image", "lav2.errors"}
ARROWS["lav2.model"] = {"lav2.adapter", "lav2.vision", "lav2.config", "lav2.weights", "lav2.errors"}
ARROWS["lav2.checkpoint"] = {"lav2.model", "lav2.adapter", "lav2.phrases", "lav2.config", "lav2.errors"}
ARROWS["lav2.released"] = {"lav2.checkpoint", "lav2.preflight", "lav2.vision"} | ARROWS["lav2.checkpoint"]
ARROWS["lav2.preflight"] = {"lav2.config", "lav2.weights", "lav2.errors"}
ARROWS["lav2.native"] = {"lav2.weights"}
ARROWS["lav2.kernels"] = set()
ARROWS["lav2.engine"] = {"lav2.adapter", "lav2.model", "lav2.native", "lav2.kernels", "lav2.config", "lav2.errors"}
ARROWS["lav2.generate"] = {"lav2.model", "lav2.adapter", "lav2.events", "lav2.engine", "lav2.errors"}
ARROWS["lav2.captioning"] = {"lav2.generate", "lav2.events", "lav2.image", "lav2.metrics", "lav2.phrases"}
# Training rows carry evidence; data only turns it from JSON into the prompt.
ARROWS["lav2.data"] = {"lav2.config", "lav2.errors", "lav2.image", "lav2.prompts", "lav2.grounding", "lav2.weights",
                       "experts.evidence"}  # fmt: skip
ARROWS["lav2.selfcritical"] = {"lav2.data", "lav2.generate", "lav2.metrics", "lav2.model", "lav2.events"}
ARROWS["lav2.train"] = {"lav2.data", "lav2.checkpoint", "lav2.model", "lav2.generate", "lav2.instruct", "lav2.prompts"}
ARROWS["lav2.train"] |= {"lav2.selfcritical", "lav2.preflight", "lav2.phrases"}
ARROWS["lav2.train"] |= ARROWS["lav2.model"]
EXPERTS = {room for room in ARROWS if room.startswith("experts.") and "train_detector" not in room}
ARROWS["experts.train_detector.train"] = {"experts.train_detector.model", "experts.evidence", "experts.detection"}
ARROWS["experts.train_detector.evaluate"] = {"experts.train_detector.data", "experts.evidence", "experts.detection"}
ARROWS["experts.train_detector.__main__"] = {
    "experts.evidence", "experts.train_detector.data", "experts.train_detector.train",
    "experts.train_detector.evaluate", "experts.detection", "experts.render",
}  # fmt: skip
ENGINE = {room for room in ARROWS if room.startswith("lav2.")}
ENGINE -= {"lav2.train", "lav2.data", "lav2.instruct", "lav2.concepts"}
ARROWS["lav2.openai_api"] |= {"lav2.assistant", "lav2.line"}  # the assistant for its type alone
ARROWS["lav2.assistant"] = EXPERTS | ENGINE | {"lav2"}
ARROWS["lav2.evaluate"] = {
    "lav2.assistant", "lav2.captioning", "lav2.vision",
    "lav2.data", "lav2.errors", "lav2.events", "lav2.generate", "lav2.image", "lav2.instruct",
    "lav2.metrics", "lav2.model", "lav2.prompts", "lav2.routing", "lav2.train", "experts.evidence",
}  # fmt: skip
ARROWS["lav2.bench"] = {"lav2", "lav2.adapter", "lav2.assistant", "lav2.config", "lav2.engine", "lav2.errors",
                        "lav2.events", "lav2.generate", "lav2.model", "lav2.prompts", "lav2.native",
                        "lav2.checkpoint", "lav2.weights", "lav2.vision"}  # fmt: skip
ARROWS["lav2.__main__"] = set(ARROWS) | {"lav2"}
ARROWS["app"] = {
    "lav2", "lav2.assistant", "lav2.errors", "lav2.events", "lav2.image", "lav2.prompts", "lav2.receipt",
    "lav2.claims", "lav2.grounding", "lav2.routing", "lav2.votes", "lav2.openai_api",
    "experts.evidence", "experts.render",
}  # fmt: skip
NO_TORCH = ("lav2.errors", "lav2.config", "lav2.weights", "lav2.image", "lav2.prompts", "lav2.grounding",
            "lav2.metrics", "lav2.instruct", "lav2.events", "lav2.receipt",
            "lav2.claims", "lav2.routing", "lav2.votes", "lav2.openai_api",
            "lav2.openai_schema", "lav2.line")  # fmt: skip


def room_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def files() -> list[Path]:
    found = [ROOT / "app.py", *(ROOT / "lav2").glob("*.py"), *(ROOT / "experts").rglob("*.py")]
    return [path for path in found if path.exists() and path.name != "__init__.py"]


def imports(path: Path) -> set[str]:
    """Every module that a file imports, at its top or inside functions; `from lav2 import x` counts as lav2.x."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parts = {f"{node.module}.{alias.name}" for alias in node.names}
            rooms = {part for part in parts if (ROOT / (part.replace(".", "/") + ".py")).exists()}
            names |= rooms or {node.module}
    return names


def test_every_file_is_a_known_room():
    assert {room_name(path) for path in files()} - set(ARROWS) == set()


def test_arrows_go_one_way():
    culprits = []
    for path in files():
        own = {name for name in imports(path) if name.split(".")[0] in ("lav2", "experts", "app")}
        culprits += [f"{room_name(path)} imports {name}" for name in sorted(own - ARROWS[room_name(path)])]
    assert not culprits


def test_rooms_without_torch_do_not_import_it():
    heavy = {"torch", "transformers", "ultralytics", "easyocr", "timm"}
    culprits = [
        f"{room_name(path)} imports {name}"
        for path in files()
        if room_name(path) in NO_TORCH
        for name in imports(path)
        if name.split(".")[0] in heavy
    ]
    assert not culprits
