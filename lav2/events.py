"""What is asked of the assistant and what it tells on the way: plain values, no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from PIL import Image

from experts.evidence import Evidence
from experts.registry import EXPERT_NAMES
from lav2.errors import LAV2Error
from lav2.options import setting

QUESTION_CHARACTERS = 4000

# What can be computed: nothing is drawn by a top_p of 0, and torch takes no seed beyond 64 bits. The page offers less.
RANGES = {
    "temperature": (0, 100),
    "top_p": (1e-6, 1),
    "max_new_tokens": (1, 100_000),
    "seed": (0, 2**63 - 1),
    "repetition_penalty": (0.01, 100),
}


AUTO = "auto"  # among a request's experts: the assistant chooses them by the question (lav2.text.routing)
REASONS = {
    "read": "it asks about text",
    "objects": "it asks for objects, a count or a place",
    "describe": "it asks what is shown",
    "other": "no rule fits, so all look",
}


@dataclass(frozen=True)
class Route:
    """`experts` in the order of EXPERT_NAMES; `kinds` of REASONS; `words` of the question that decided."""

    experts: tuple[str, ...]
    kinds: tuple[str, ...]
    words: tuple[str, ...]

    def __str__(self) -> str:
        because = "; ".join(REASONS[kind] for kind in self.kinds)
        quoted = f" (“{'”, “'.join(self.words)}”)" if self.words else ""
        return f"{', '.join(self.experts)}: {because}{quoted}"


@dataclass(frozen=True)
class Turn:
    """One finished exchange."""

    question: str
    answer: str


@dataclass(frozen=True)
class Change:
    """What a reader did to one finding: `before` None: added; `after` None: removed; else rewritten. `corners`: [k,2],
    px of the upright original, () of what has no place."""

    expert: str
    before: str | None
    after: str | None
    corners: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen.

    The repetition penalty (CTRL, arXiv 1909.05858) spares tokens of the prompt: an answer should repeat words of the
    evidence, though not go round in circles (lav2.inference.sampler.looping).

    Raises:
        LAV2Error: a value outside its range, here and not in the middle of an answer.
    """

    temperature: float = setting(0.0, "0 takes the likeliest token (greedy)")
    top_p: float = setting(0.9, "of the likeliest tokens, those are drawn from that together have this probability")
    max_new_tokens: int = setting(128, "longest answer, in tokens")
    seed: int = setting(0, "the same seed draws the same answer")
    repetition_penalty: float = setting(1.1, "above 1: tokens of the answer so far become less likely")

    def __post_init__(self) -> None:
        for name, (low, high) in RANGES.items():
            value = getattr(self, name)
            if not low <= value <= high:  # not a number is in no range either
                raise LAV2Error(
                    "{name} is {value}, which is not in {low} .. {high}.",
                    "Choose one in that range.",
                    name=name,
                    value=value,
                    low=f"{low:g}",
                    high=f"{high:g}",
                )


def check_length(question: str) -> None:
    """Raises LAV2Error for a question that is too long, before anything goes through its text."""
    if len(question) > QUESTION_CHARACTERS:
        raise LAV2Error(
            "The question has {count} characters; the limit is {limit}.",
            "Shorten it.",
            count=f"{len(question):,}",
            limit=f"{QUESTION_CHARACTERS:,}",
        )


@dataclass(frozen=True)
class Request:
    """One question. `image` is upright RGB (lav2.image.open_image); `experts` of EXPERT_NAMES, () switches them off,
    AUTO leaves the choice to the assistant.

    `evidence`, where given, is used in place of running the experts: corrected by a reader, or kept in a receipt;
    `corrections` are what the reader did.
    `client` is who asks, where several do: they take turns (lav2.assistant.admission).
    `model` is who answers where another one is loaded beside the assistant (--beside), by its name.
    """

    question: str
    image: Image.Image | None = None
    history: tuple[Turn, ...] = ()
    experts: tuple[str, ...] = EXPERT_NAMES
    sampling: Sampling = Sampling()
    evidence: Mapping[str, Evidence] | None = None
    client: str | None = None
    corrections: tuple[Change, ...] = ()
    model: str = ""


@dataclass(frozen=True)
class Queued:
    """Others are answered first; `position` 1 is the next to be answered. Comes again when it changes."""

    position: int


@dataclass(frozen=True)
class Routed:
    """AUTO has chosen who looks. Comes first, also where a rule answers; `Done.route` is the same."""

    route: Route


@dataclass(frozen=True)
class ExpertStarted:
    """An expert looks at the photo now."""

    name: str


@dataclass(frozen=True)
class EvidenceFound:
    """`remembered`: the expert had looked at this photo before; the evidence's seconds are of then."""

    name: str
    evidence: Evidence
    remembered: bool = False


@dataclass(frozen=True)
class PromptReady:
    """The exact prompt; `tokens` of `context` are used by it, `trimmed_turns` old turns did not fit.

    `left_out`: numbers (experts.render.numbered) of the findings that had no room in it. `parts`: the tokens of its
    findings, question, turns and template.
    """

    prompt: str
    tokens: int
    context: int
    trimmed_turns: int
    left_out: frozenset[int] = frozenset()
    parts: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Token:
    """A piece of the answer's text, as it comes."""

    text: str


@dataclass(frozen=True)
class Done:
    """The end. `timings` in seconds: each expert's, `experts` (all, as waited for), `first_token` (from the question
    on), `answer` (generation), `total`; and `tokens_per_second`. `weights`: hashes by part. `left_out`: numbers of the
    findings that the prompt had no room for. `rule`: of lav2.text.language, where it answered and no model; there is no
    prompt then. `tokens` of the answer. `route`: why these experts, where AUTO chose them."""

    answer: str
    evidence: dict[str, Evidence]
    prompt: str
    timings: dict[str, float]
    seed: int
    preset: str
    versions: dict[str, str]
    stopped: bool
    weights: dict[str, str]
    left_out: frozenset[int] = frozenset()
    rule: str = ""
    tokens: int = 0
    route: Route | None = None

    def experts(self, request: Request) -> tuple[str, ...]:
        """Who was to look: as the request says, or as AUTO chose."""
        return self.route.experts if self.route else request.experts


Event = Queued | Routed | ExpertStarted | EvidenceFound | PromptReady | Token | Done
