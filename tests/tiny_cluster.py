"""A tiny assistant that replicas load in the processes of a Ray cluster; an expert alone needs no torch."""

import time
from dataclasses import dataclass, replace

from PIL import Image

from experts.evidence import BUILT_IN, Caption
from lav2.cluster import deployment
from lav2.config import EMBEDDED
from lav2.errors import LAV2Error


class TinyExpert:
    """Tells a photo's colour, as words of the tiny vocabulary, after `seconds`."""

    def __init__(self, name: str, seconds: float = 0.0):
        self.name, self._seconds = name, seconds

    def load(self) -> None:
        pass

    def __call__(self, image: Image.Image) -> Caption:
        time.sleep(self._seconds)
        return Caption(colour(image), self._seconds, "tiny")


def colour(image: Image.Image) -> str:
    red, green, blue = image.getpixel((0, 0))
    return f"w{3 + red % 60} w{3 + green % 60} w{3 + blue % 60}"


def photo(number: int) -> Image.Image:
    return Image.new("RGB", (16, 16), (number, 7 * number % 256, 13 * number % 256))


@dataclass(frozen=True)
class TinyLoader:
    """As lav2.cluster.parts.Loader."""

    seconds: float = 0.0
    broken: bool = False  # nothing can be loaded

    def assistant(self, experts):
        if self.broken:
            raise LAV2Error("No weights of {name}.", "Get some.", name="everything")
        from tiny import LATE, llama, tokenizer

        from experts import detection
        from lav2.assistant.loading import fast_backends
        from lav2.assistant.service import Assistant
        from lav2.model.adapted import AdaptedLlama

        model = AdaptedLlama(llama(), LATE).eval()
        chat, captioner, _ = fast_backends(model, model)
        preset = replace(EMBEDDED, template="alpaca", question_rules=False)
        looking = {name: TinyExpert(name, self.seconds) for name in BUILT_IN} | dict(experts)
        parts = ({}, {"adapter": "a"})
        return Assistant(preset, chat, captioner, tokenizer(), None, detection.build(""), *parts, experts=looking)

    def expert(self, name):
        if self.broken:
            raise LAV2Error("No weights of {name}.", "Get some.", name=name)
        return TinyExpert(name, self.seconds), {f"{name}_weights": "tiny"}


class MeasuredLoader:
    """Loads what tests of measurements measure."""

    def assistant(self, experts):
        from tiny_measured import made

        from lav2.weights import find

        return made(str(find(EMBEDDED.detector)))


def build(given):
    """What a test's copy of lav2/cluster/serve.yaml names as its application."""
    return deployment.application(TinyLoader(**given), deployment.Cluster())
