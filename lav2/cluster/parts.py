"""What a replica loads: an assistant whose experts may be elsewhere, or one expert alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from experts.evidence import Evidence, Expert, ExpertError, ExpertFailure
from lav2 import config

if TYPE_CHECKING:
    from PIL import Image

    from lav2.assistant.service import Assistant

CAPTION_HASHES = {
    "adapter": "caption_adapter",
    "image_encoder": "caption_encoder",
    "caption_phrases": "caption_phrases",
}


def _quiet(line: str) -> None:
    """A replica's report: nobody reads it."""


@dataclass(frozen=True)
class Loader:
    """Which models a replica loads; it is sent to each one, so it holds plain values only.

    `placing`: device, dtype, quantize and device_map of Assistant.load.
    """

    preset: config.Preset
    detector: str | None = None
    placing: Mapping[str, str | None] = field(default_factory=dict)

    def assistant(self, experts: Mapping[str, Expert]) -> Assistant:
        """An assistant that asks `experts` in the place of its own. Where the captioner is among them its adapter is
        not loaded, which halves what the engine packs.

        Raises:
            LAV2Error: see Assistant.load.
        """
        from lav2.assistant.service import Assistant

        preset = self.preset
        if "caption" in experts:
            preset = replace(preset, caption_adapter=preset.adapter)
        return Assistant.load(preset, detector=self.detector, experts=experts, report=_quiet, **self.placing)

    def expert(self, name: str) -> tuple[Expert, dict[str, str]]:
        """(the expert, hashes of its weights by the part that an answer's facts call them)."""
        from lav2.assistant.service import Assistant

        if name == "caption":  # the adapter on captions alone, as if it were the one that answers
            alone = replace(self.preset, adapter=self.preset.caption_adapter)
            captioner = Assistant.load(alone, detector=self.detector, report=_quiet, **self.placing)
            hashes = {CAPTION_HASHES[part]: found for part, found in captioner.hashes.items() if part in CAPTION_HASHES}
            return captioner.expert(name), hashes
        from experts import ocr
        from lav2.assistant.loading import build_detector
        from lav2.model import preflight

        device = preflight.device(self.placing.get("device"))
        if name == "ocr":
            return ocr.build(device=device), {}
        return build_detector(self.detector, self.preset, device), {}


def look_at_all(expert: Expert, images: Sequence[Image.Image]) -> list[Evidence | Exception]:
    """What an expert finds on photos: in one step where it has `several`; else, and where that breaks, one by one, so
    that a photo spoils its own findings only."""
    if len(images) > 1:
        with suppress(Exception):
            return expert.several(images)
    return [_looked(expert, image) for image in images]


def _looked(expert: Expert, image: Image.Image) -> Evidence | Exception:
    """What an expert finds. A failure that it can explain is evidence too, since not every error can be sent."""
    try:
        return expert(image)
    except ExpertError as error:
        return ExpertFailure(expert.name, error.cause, error.next_step, 0.0)
    except Exception as error:
        return error
