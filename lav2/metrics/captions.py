"""Scores of captions in numpy. No Java, no network.

Captions: BLEU-1..4, ROUGE-L and CIDEr-D after COCO's tokenisation, to the numbers of pycocoevalcap (Chen et
al., arXiv:1504.00325). They are written here from the papers and not imported from it: its only wheel is 104
MB (mostly Java archives), nobody has released since 2020, its BLEU file forbids commercial use, and without
Java its tokeniser does not run. tests/fixtures/caption_scores.json holds what pycocoevalcap 1.2 gives on
captions of our own.

METEOR is not computed: its aligner and its 60 MB paraphrase table exist only for Java. `METEOR-lite` is its
documented substitute: the harmonic mean and the fragmentation penalty of the first METEOR (Banerjee and Lavie
2005) over exact and stemmed words, without synonyms and paraphrases. It ranks systems; do not compare it with
published METEOR numbers.
"""

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lav2.errors import LAV2Error
from lav2.metrics.questions import Id, checked_rows, field_of, json_lines, locate_photos, read_benchmark_json
from lav2.metrics.tokens import coco_tokens

MAX_N = 4  # BLEU and CIDEr-D look at word groups of 1 to 4


def caption_scores(candidates: Mapping[Id, str], references: Mapping[Id, Sequence[str]]) -> dict[str, float]:
    """BLEU-1..4 (corpus), METEOR-lite, ROUGE-L and CIDEr-D (means over photos) of one caption per photo.

    `references` may hold more photos than `candidates`; CIDEr-D's word weights come from the scored photos,
    as in pycocoevalcap. All are in 0..1 but CIDEr-D (0..10). Raises LAV2Error for no candidates or one
    without references.
    """
    if not candidates:
        raise LAV2Error("There are no captions to score.", "Give at least one caption per photo.")
    missing = [i for i in candidates if not references.get(i)]
    if missing:
        raise LAV2Error(
            f"{len(missing)} of {len(candidates)} photos have no reference captions, first {missing[0]!r}.",
            "Check that both files name photos by the same ids.",
        )
    guesses = [coco_tokens(text) for text in candidates.values()]
    truths = [[coco_tokens(text) for text in references[i]] for i in candidates]
    pairs = list(zip(guesses, truths, strict=True))
    scores = {f"BLEU-{n}": value for n, value in enumerate(_bleu(pairs), 1)}
    scores["METEOR-lite"] = float(np.mean([max(_meteor_lite(g, t) for t in ts) for g, ts in pairs]))
    scores["ROUGE-L"] = float(np.mean([rouge_l(g, ts) for g, ts in pairs]))
    scores["CIDEr-D"] = float(cider_d(guesses, truths).mean())
    return scores


def cider_d(guesses: Sequence[Sequence[str]], truths: Sequence[Sequence[Sequence[str]]]) -> np.ndarray:
    """CIDEr-D of each photo -> [n] float64, words weighted by these photos (see CiderD)."""
    scorer = CiderD(truths)
    return np.array([scorer(guess, ts) for guess, ts in zip(guesses, truths, strict=True)])


class Weighed(NamedTuple):
    """A caption as CiderD compares it."""

    words: int
    weights: list[dict[tuple[str, ...], float]]  # of its word groups, by their length
    norms: np.ndarray  # [4]


class CiderD:
    """CIDEr-D of a caption (Vedantam et al., arXiv:1411.5726, sigma 6, clipped, times 10).

    Tokens in, from `coco_tokens`. The length penalty compares numbers of word pairs, as pycocoevalcap does.

    Args:
        truths: each photo's captions; word groups that fewer of these photos have weigh more. None: all weigh the same.
    """

    def __init__(self, truths: Sequence[Sequence[Sequence[str]]] | None):
        self._seen = None
        if truths is not None:
            self._seen = Counter(gram for ts in truths for gram in set().union(*(grams(t) for t in ts)))
            self._photos = math.log(len(truths))

    def __call__(self, guess: Sequence[str], truths: Sequence[Sequence[str]]) -> float:
        """0..10, of one caption against its photo's."""
        weighed = self.weigh(guess)
        return sum(self.like(weighed, self.weigh(t)) for t in truths) / len(truths)

    def weigh(self, tokens: Sequence[str]) -> Weighed:
        """A caption, ready to be compared."""
        weights: list[dict[tuple[str, ...], float]] = [{} for _ in range(MAX_N)]
        for gram, count in grams(tokens).items():
            weight = 1.0 if self._seen is None else self._photos - math.log(max(1, self._seen[gram]))
            weights[len(gram) - 1][gram] = count * weight
        return Weighed(len(tokens), weights, np.sqrt([sum(w * w for w in level.values()) for level in weights]))

    def like(self, guess: Weighed, truth: Weighed) -> float:
        """0..10, of one caption against another."""
        dots = np.array(
            [
                sum(min(w, r[gram]) * r[gram] for gram, w in level.items() if gram in r)
                for level, r in zip(guess.weights, truth.weights, strict=True)
            ]
        )
        length = guess.norms * truth.norms  # [4]
        cosine = np.divide(dots, length, out=np.zeros(MAX_N), where=length != 0)
        delta = max(guess.words - 1, 0) - max(truth.words - 1, 0)
        return 10.0 * float(cosine.mean()) * math.exp(-(delta**2) / (2 * 6.0**2))


def grams(tokens: Sequence[str], longest: int = MAX_N) -> Counter[tuple[str, ...]]:
    """How often each group of 1 to `longest` neighbouring words comes."""
    return Counter(tuple(tokens[i : i + n]) for n in range(1, longest + 1) for i in range(len(tokens) - n + 1))


def _bleu(pairs: Sequence[tuple[list[str], list[list[str]]]]) -> list[float]:
    """Corpus BLEU-1..4 (Papineni et al. 2002), the closest reference length (the shorter of two as close)."""
    right, made = np.zeros(MAX_N), np.zeros(MAX_N)
    guess_length = true_length = 0
    for guess, ts in pairs:
        most: Counter[tuple[str, ...]] = Counter()
        for t in ts:
            most |= grams(t)
        for gram, count in grams(guess).items():
            right[len(gram) - 1] += min(count, most[gram])
            made[len(gram) - 1] += count
        guess_length += len(guess)
        true_length += min((abs(len(t) - len(guess)), len(t)) for t in ts)[1]
    if guess_length == 0:
        return [0.0] * MAX_N
    brevity = min(1.0, math.exp(1 - true_length / guess_length))
    # the constants of pycocoevalcap: no word group in common is not log(0)
    precision = (right + 1e-15) / (made + 1e-9)
    return [float(brevity * np.prod(precision[:n]) ** (1 / n)) for n in range(1, MAX_N + 1)]


def rouge_l(guess: Sequence[str], truths: Sequence[Sequence[str]]) -> float:
    """ROUGE-L (Lin 2004) as COCO takes it: best precision and best recall over the references, beta 1.2."""
    common = [_common_length(guess, t) for t in truths]
    precision = max(c / max(1, len(guess)) for c in common)
    recall = max(c / max(1, len(t)) for c, t in zip(common, truths, strict=True))
    if precision == 0 or recall == 0:
        return 0.0
    return (1 + 1.2**2) * precision * recall / (recall + 1.2**2 * precision)


def _common_length(a: Sequence[str], b: Sequence[str]) -> int:
    """Length of the longest common subsequence."""
    row = [0] * (len(b) + 1)
    for x in a:
        before = 0  # row[j] of the line above
        for j, y in enumerate(b, 1):
            before, row[j] = row[j], before + 1 if x == y else max(row[j], row[j - 1])
    return row[-1]


def _meteor_lite(guess: Sequence[str], truth: Sequence[str]) -> float:
    """10PR / (R + 9P) times 1 - 0.5 (chunks / matches)^3, words aligned exactly first, then by stem, longest
    runs first.
    """
    aligned: dict[int, int] = {}  # position in guess -> position in truth
    for words, goals in ((guess, truth), ([_stem(w) for w in guess], [_stem(w) for w in truth])):
        runs = []
        for i in range(len(words)):
            for j in range(len(goals)):
                length = 0
                while i + length < len(words) and j + length < len(goals) and words[i + length] == goals[j + length]:
                    length += 1
                if length:
                    runs.append((-length, abs(i - j), i, j))
        for length, _, i, j in sorted(runs):
            taken = set(aligned.values())
            for k in range(-length):
                if i + k not in aligned and j + k not in taken:
                    aligned[i + k] = j + k
    matches = len(aligned)
    if matches == 0:
        return 0.0
    chunks = sum(aligned.get(i - 1) != j - 1 for i, j in aligned.items())
    precision, recall = matches / len(guess), matches / len(truth)
    return 10 * precision * recall / (recall + 9 * precision) * (1 - 0.5 * (chunks / matches) ** 3)


def _stem(word: str) -> str:
    """A word without -ing, -ed, -es, -s, so that "jumping" and "jumps" meet."""
    for ending in ("ing", "ed", "es", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word.removesuffix(ending)
    return word


def write_coco_results(path: str | Path, candidates: Mapping[Id, str]) -> None:
    """Write captions as COCO's server and pycocotools read them."""
    rows = [{"image_id": i, "caption": text} for i, text in candidates.items()]
    Path(path).write_text(json.dumps(rows, ensure_ascii=False, indent=0) + "\n", encoding="utf-8")


def read_references(path: str | Path, split: str | None = None) -> dict[Id, list[str]]:
    """Human captions per photo, of a COCO captions file (.json, key image id) or of captions.jsonl (key image path).

    Args:
        split: of captions.jsonl, which is kept; None: all. A COCO file holds one split.

    Raises:
        LAV2Error: the file cannot be read, or a row is not of that form.
    """
    found: dict[Id, list[str]] = {}
    if Path(path).suffix == ".jsonl":
        for number, row in enumerate(checked_rows(path, json_lines(path), ("image", "captions")), 1):
            texts = row["captions"]
            if not isinstance(texts, list) or not all(isinstance(text, str) for text in (row["image"], *texts)):
                raise LAV2Error(f"{path}, row {number} is not a photo with a list of captions.", "Mend or remove it.")
            if split is None or row.get("split") == split:
                found[row["image"]] = row["captions"]
        return found
    for row in checked_rows(path, field_of(path, read_benchmark_json(path), "annotations"), ("image_id", "caption")):
        found.setdefault(row["image_id"], []).append(row["caption"])
    return found


def read_coco_images(path: str | Path, images: str | Path) -> dict[Id, Path]:
    """Where each photo of a COCO captions file lies: {image id: file}, looked for by name under the folder
    `images`.
    """
    rows = checked_rows(path, field_of(path, read_benchmark_json(path), "images"), ("id", "file_name"))
    return locate_photos({row["id"]: row["file_name"] for row in rows}, Path(images))
