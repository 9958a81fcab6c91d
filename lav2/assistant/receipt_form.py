"""What a receipt must look like, whoever wrote the file: the types of all its parts. No torch."""

from __future__ import annotations

from typing import Annotated, Literal, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, Strict, create_model

from experts.evidence import EXPERT_NAME
from lav2.events import Sampling

FORMAT = "lav2 receipt 1"


class _Part(BaseModel):
    """Of a receipt: every value has its own type, and numbers are finite. Parts that a later version adds are left."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)


class _Closed(_Part):
    """A part that no later version adds to."""

    model_config = ConfigDict(extra="forbid")


ExpertName = Annotated[str, Field(pattern=f"^{EXPERT_NAME}$")]  # of one that need not be installed here
Seconds = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Size = Annotated[list[Annotated[int, Field(ge=1, le=1_000_000)]], Field(min_length=2, max_length=2)]  # px
Point = Annotated[list[float], Field(min_length=2, max_length=2)]


_Chance = Annotated[tuple[str, Share], Strict(False)]  # JSON has lists for tuples


class _Failed(_Part):
    error: str
    next_step: str
    seconds: Seconds


class _Captioned(_Part):
    text: str
    seconds: Seconds
    source: str
    concepts: list[_Chance] = []
    candidates: list[_Chance] = []
    asked: str = ""
    certain: bool = False


class _Box(_Part):
    label: str
    confidence: Share
    xyxy: Annotated[list[float], Field(min_length=4, max_length=4)]
    colour: str = ""


class _Detected(_Part):
    items: list[_Box]
    seconds: Seconds
    detector: str
    classes: list[str]
    size: Size
    sure: Share = 0.0


class _Line(_Part):
    text: str
    confidence: Share
    quad: Annotated[list[Point], Field(min_length=4, max_length=4)]
    reliable: bool = True


class _Read(_Part):
    items: list[_Line]
    seconds: Seconds
    size: Size


class _Observation(_Part):
    text: str
    confidence: Share
    xyxy: Annotated[list[float], Field(min_length=4, max_length=4)] | None


class _Observed(_Part):
    items: list[_Observation]
    seconds: Seconds
    size: Size


class _Found(_Closed):
    """What the built-in experts found, and by name what those of other packages did."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[ExpertName, _Observed | _Failed]
    caption: _Captioned | _Failed = Field(None)
    detection: _Detected | _Failed = Field(None)
    ocr: _Read | _Failed = Field(None)


class _Change(_Closed):
    expert: ExpertName
    before: str | None
    after: str | None
    corners: list[Point] = []


class _Turn(_Closed):
    question: str
    answer: str


_Sampling = create_model(
    "_Sampling",
    __base__=_Closed,
    **{name: (kind, getattr(Sampling, name)) for name, kind in get_type_hints(Sampling).items()},
)


class _Photo(_Part):
    sha256: str
    size: Size


class Receipt(_Part):
    """A receipt's JSON; see lav2.assistant.receipt."""

    format: Literal[FORMAT]
    image: _Photo | None
    question: str
    history: list[_Turn]
    experts: list[ExpertName]
    corrections: list[_Change] = []
    evidence: _Found
    left_out: list[int] = []
    prompt: str
    sampling: _Sampling
    preset: str
    weights: dict[str, str]
    versions: dict[str, str]
    answer: str
    stopped: bool
