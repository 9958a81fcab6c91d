"""Which words and pairs of words people would say of a photo, told from the image encoder's features: by them the
captions that a language model drafts are reranked.

A small language model writes fluently about things that are not in the photo. Of many captions that one is told whose
phrases the photo itself makes likely: visual concepts that choose among captions (Fang et al., arXiv 1411.4952, Sec. 3
and 5), compared as CIDEr compares (arXiv 1411.5726), with what is expected of the human captions in their place. What
it brings stands in assets/caption/README.md.

Words: B batch, N image tokens, C their width, P phrases.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from lav2.captioning import layers
from lav2.captioning.scenes import WordChance
from lav2.config import VisionConfig, from_json
from lav2.errors import LAV2Error
from lav2.image import MIRROR_WORDS
from lav2.metrics.captions import grams
from lav2.metrics.tokens import coco_tokens
from lav2.model.checkpoint import CAPTION_PHRASES
from lav2.text.claims import singular

LONGEST = 2  # words of a phrase
CONCEPTS, LEAST_CHANCE = 10, 0.08  # told of a photo at most; chance from which a word is told
# Words that tell nothing of a photo by themselves.
_EMPTY_WORDS = """
a an the this that these there it its is are be being been was has have having do does in on of at to from by for with
without into onto over under up down off out near next through across along around behind between above below front back
side top bottom middle while and or as but not very some other another each all both one's his her their he she they him
them who which what where when get gets getting go goes going
"""
_EMPTY = frozenset(_EMPTY_WORDS.split())

Phrase = tuple[str, ...]


@dataclass(frozen=True)
class RerankerConfig:
    """What is learned, and how long."""

    least: int = 20  # photos that a phrase must be said of
    hidden: int = 512  # width between the two layers
    epochs: int = 12
    batch: int = 128  # photos per step
    lr: float = 1e-3  # peak; OneCycle
    weight_decay: float = 0.1
    dropout: float = 0.5  # of both layers' inputs
    mixup: float = 0.4  # photos are mixed by shares of Beta(mixup, mixup), arXiv 1710.09412
    seed: int = 0


def phrases_of(tokens: Sequence[str]) -> set[Phrase]:
    """The words and pairs of neighbouring words of a caption, in lav2.metrics.tokens.coco_tokens."""
    return set(grams(tokens, LONGEST))


def pooled(clip_tokens: Tensor) -> Tensor:
    """[B, N, C] -> [B, 2C]: each channel's mean over the photo and its maximum."""
    return torch.cat([clip_tokens.mean(1), clip_tokens.amax(1)], 1)


class ConceptReranker(nn.Module):
    """clip_tokens [B, N, C] -> logits [B, P]: is the phrase in a caption of the photo?

    Args:
        names: the phrases.
        rarity: [P] logarithm of how few photos have each; unlike ones weigh more in `Expected.like`.
        unknown: rarity of all other phrases.
        vision: the image encoder whose tokens are read.
        hidden: width between the two layers.
    """

    def __init__(self, names: Sequence[Phrase], rarity: Tensor, unknown: float, vision: VisionConfig, hidden: int):
        super().__init__()
        self.names, self.unknown, self.vision = tuple(names), unknown, vision
        self.input = nn.Linear(2 * vision.width, hidden)
        self.output = nn.Linear(hidden, len(self.names))
        self.register_buffer("rarity", rarity)
        self._place = {phrase: i for i, phrase in enumerate(self.names)}
        self._words = np.array([len(phrase) for phrase in self.names])  # [P]

    def forward(self, clip_tokens: Tensor) -> Tensor:
        return self.logits(pooled(clip_tokens))

    def logits(self, photos: Tensor, dropout: float = 0.0) -> Tensor:
        """[B, P] of photos [B, 2C] that are `pooled`; `dropout`: share of both layers' inputs that is left out."""
        hidden = F.gelu(self.input(F.dropout(photos, dropout)))
        return self.output(F.dropout(hidden, dropout))

    @torch.inference_mode()
    def expect(self, clip_tokens: Tensor) -> Expected:
        """What is expected of the captions of one photo, clip_tokens [1, N, C]."""
        chance = self(clip_tokens.to(self.rarity.device, torch.float32))[0].sigmoid().double().cpu().numpy()
        return Expected(self._place, self._words, chance, self.rarity.double().cpu().numpy(), self.unknown)

    @torch.inference_mode()
    def word_chances(self, clip_tokens: Tensor) -> dict[str, WordChance]:
        """Of single words the chance that a caption of one photo, clip_tokens [1, N, C], has them."""
        chances = self(clip_tokens.to(self.rarity.device, torch.float32))[0].sigmoid()
        numbers = zip(self.names, chances.tolist(), (-self.rarity).exp().tolist(), strict=True)
        return {name[0]: WordChance(chance, share) for name, chance, share in numbers if len(name) == 1}

    @torch.inference_mode()
    def concepts(self, clip_tokens: Tensor) -> list[tuple[tuple[str, float], ...]]:
        """Of each photo, clip_tokens [B, N, C]: the words that its features make much likelier than photos have them at
        large, (word, chance) by falling chance, at most CONCEPTS."""
        alone = [(i, name[0]) for i, name in enumerate(self.names) if len(name) == 1]
        words = [i for i, word in alone if word.isalpha() and word not in _EMPTY]
        chances = self(clip_tokens.to(self.rarity.device, torch.float32))[:, words].sigmoid()  # [B, words]
        # rarity is minus the logarithm of the share of photos that have the word
        information = chances * (chances.log() + self.rarity[words]).clamp(min=0)
        found = []
        for chance, order in zip(chances.tolist(), information.argsort(descending=True).tolist(), strict=True):
            by_stem: dict[str, tuple[str, float]] = {}  # singular -> the more informative of "dog" and "dogs"
            for at in order:
                word = self.names[words[at]][0]
                if chance[at] >= LEAST_CHANCE and len(by_stem) < CONCEPTS:
                    by_stem.setdefault(singular(word), (word, chance[at]))
            found.append(tuple(sorted(by_stem.values(), key=lambda pair: -pair[1])))
        return found


class Expected:
    """The phrases expected of a photo's captions; see ConceptReranker.expect.

    Args:
        place: of each phrase in what follows.
        words: [P] in each phrase.
        chance: [P] 0..1, of each to be in a caption.
        rarity, unknown: of ConceptReranker.
    """

    def __init__(
        self, place: Mapping[Phrase, int], words: np.ndarray, chance: np.ndarray, rarity: np.ndarray, unknown: float
    ):
        self._place, self._chance, self._rarity, self._unknown = place, chance, rarity, unknown
        weights = chance * rarity
        self._norms = [float(np.linalg.norm(weights[words == n])) for n in range(1, LONGEST + 1)]

    def chance(self, phrase: Phrase) -> float:
        """0..1; 0 of a phrase that is not known."""
        return float(self._chance[self._place[phrase]]) if phrase in self._place else 0.0

    def like(self, tokens: Sequence[str]) -> float:
        """0..10, how much a caption is what is expected: the mean over words and pairs of the cosine between its
        phrases and all, each weighed by rarity; as CIDEr, without counting how often a phrase comes."""
        cosines = []
        for n, norm in enumerate(self._norms, start=1):
            phrases = sorted(phrase for phrase in phrases_of(tokens) if len(phrase) == n)  # sums are the same each time
            known = [self._place[phrase] for phrase in phrases if phrase in self._place]
            squares = self._rarity[known] ** 2
            length = math.sqrt(squares.sum() + self._unknown**2 * (len(phrases) - len(known))) * norm
            cosines.append(float(self._chance[known] @ squares) / length if length else 0.0)
        return 10 * sum(cosines) / len(cosines)


# --- learning ------------------------------------------------------------------------------------------------


def learn(
    photos: Tensor,
    captions: Sequence[Sequence[str]],
    vision: VisionConfig,
    validation: tuple[Tensor, Sequence[Sequence[str]]] | None = None,
    settings: RerankerConfig = RerankerConfig(),
    device: str = "cpu",
    report: Callable[[str], None] = print,
) -> ConceptReranker:
    """Two layers that learn from photos and their human captions; a minute on a CPU for 8,000 photos.

    Args:
        photos: [photos, views, 2C] `pooled`, each in several views (features.view_of); one is drawn at each step, of
            photos whose captions name a side none that is mirrored.
        captions: of each photo.
        vision: the encoder that made them.
        validation: other photos [photos, 2C] and their captions, to be told the loss.
        settings: see RerankerConfig.
        device: where the layers learn and stay.
        report: gets what is learned, and the loss.

    Raises:
        LAV2Error: too few photos, or no phrase that enough of them share.
    """
    phrases = [[phrases_of(coco_tokens(text)) for text in texts] for texts in captions]
    count = Counter(phrase for texts in phrases for phrase in set().union(*texts))
    names = [p for p, n in sorted(count.items(), key=lambda item: (-item[1], item[0])) if n >= settings.least]
    if len(photos) < settings.batch or not names:
        raise LAV2Error(
            f"{len(photos)} photos with {len(names)} phrases that {settings.least} of them share are too few.",
            f"Give at least {settings.batch} photos with captions.",
        )
    rarity = math.log(len(photos)) - torch.tensor([count[name] for name in names]).log()
    unknown = math.log(len(photos)) - math.log(settings.least / 2)
    torch.manual_seed(settings.seed)
    model = ConceptReranker(names, rarity, unknown, vision, settings.hidden).to(device)
    shares = [_shares(texts, model) for texts in phrases]
    total = torch.zeros(len(names))
    for indices, share in shares:
        total[indices] += share
    model.output.weight.data.zero_()
    base = torch.logit((total / len(photos)).clamp(1e-4, 0.9)).to(device)
    model.output.bias.data = base.clone()
    sided = np.array([any(map(MIRROR_WORDS.search, texts)) for texts in captions])
    flat = photos.flatten(0, 1).float()
    mean, spread = flat.mean(0), flat.std(0) + 1e-3
    steps = len(photos) // settings.batch * settings.epochs
    optim = torch.optim.AdamW(model.parameters(), settings.lr, weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optim, settings.lr, total_steps=steps, pct_start=0.1)
    rng = np.random.default_rng(settings.seed)
    order = np.zeros(0, int)
    report(f"{len(names)} phrases of {len(photos)} photos")
    with tqdm(range(steps), desc="phrases", unit="step", disable=None) as bar:
        for _ in bar:
            if len(order) < settings.batch:
                order = rng.permutation(len(photos))
            rows, order = order[: settings.batch], order[settings.batch :]
            view = rng.integers(photos.shape[1], size=len(rows))
            view -= view % 2 * sided[rows]  # odd views are mirrored
            features = (photos[rows, view].float() - mean) / spread
            share, others = rng.beta(settings.mixup, settings.mixup), torch.from_numpy(rng.permutation(len(rows)))
            truth = _dense([shares[row] for row in rows], len(names))
            features, truth = (share * part + (1 - share) * part[others] for part in (features, truth))
            loss = _loss(model.logits(features.to(device), settings.dropout), truth.to(device))
            optim.zero_grad(set_to_none=True)
            loss.backward()
            optim.step()
            schedule.step()
            bar.set_postfix(loss=f"{loss.item():.2f}")
    with torch.no_grad():  # photos come as they are from here on
        model.input.weight /= spread.to(device)
        model.input.bias -= model.input.weight @ mean.to(device)
    if validation is not None:
        features, texts = validation
        truth = _dense([_shares([phrases_of(coco_tokens(t)) for t in ts], model) for ts in texts], len(names))
        with torch.no_grad():
            truth = truth.to(device)
            logits = model.logits(features.float().to(device))
            loss, alone = _loss(logits, truth), _loss(base.expand_as(truth), truth)
        report(f"loss on {len(features)} other photos: {loss:.2f} ({alone:.2f} by each phrase's frequency alone)")
    return model.eval()


def _shares(texts: Sequence[set[Phrase]], model: ConceptReranker) -> tuple[Tensor, Tensor]:
    """Places of the phrases in a photo's captions, and the share of captions that has each."""
    count = Counter(model._place[phrase] for text in texts for phrase in text if phrase in model._place)
    return torch.tensor(list(count), dtype=torch.long), torch.tensor(list(count.values())) / len(texts)


def _dense(shares: Sequence[tuple[Tensor, Tensor]], width: int) -> Tensor:
    dense = torch.zeros(len(shares), width)
    for row, (indices, share) in zip(dense, shares, strict=True):
        row[indices] = share
    return dense


def _loss(logits: Tensor, truth: Tensor) -> Tensor:
    """Binary cross-entropy, summed over the phrases and averaged over the photos."""
    return F.binary_cross_entropy_with_logits(logits, truth, reduction="none").sum(1).mean()


# --- on disk -------------------------------------------------------------------------------------------------


def save(model: ConceptReranker, folder: Path, notes: Mapping[str, object] | None = None) -> None:
    """Write the layers in float16 into a caption adapter's folder."""
    facts = {"phrases": [" ".join(name) for name in model.names], "unknown": model.unknown,
             "vision": asdict(model.vision), "notes": notes or {}}  # fmt: skip
    layers.save(model, folder / CAPTION_PHRASES, "phrases", facts)


def load(folder: Path, vision: VisionConfig | None) -> ConceptReranker | None:
    """What reranks a captioner's drafts; None: its folder has nothing of the kind.

    Args:
        vision: the image encoder of the captioner.

    Raises:
        LAV2Error: the file is damaged, or was learned on another image encoder.
    """
    file = folder / CAPTION_PHRASES
    if vision is None or not file.exists():
        return None

    def build(facts: dict[str, Any], tensors: dict[str, Tensor]) -> ConceptReranker:
        own = from_json(VisionConfig, facts["vision"])
        if own != vision:
            raise LAV2Error(
                f"{file} was learned on the image encoder {own.weights or own.name}, "
                f"and the captioner sees by {vision.weights or vision.name}.",
                "Make it for this one with `python -m lav2 phrases`, or delete it.",
            )
        names = [tuple(name.split(" ")) for name in facts["phrases"]]
        return ConceptReranker(names, tensors["rarity"], facts["unknown"], vision, len(tensors["input.bias"]))

    return layers.load(file, "phrases", build, "Get it again, or make it with `python -m lav2 phrases`.")
