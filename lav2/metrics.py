"""Scores of the field for captions and answers, in numpy, reading the benchmarks' own files. No torch, no Java, no network.

Captions: BLEU-1..4, ROUGE-L and CIDEr-D after COCO's tokenisation, to the numbers of pycocoevalcap (Chen et al.,
arXiv:1504.00325). They are written here from the papers and not imported from it: its only wheel is 104 MB (mostly Java
archives), nobody has released since 2020, its BLEU file forbids commercial use, and without Java its tokeniser does not
run. tests/fixtures/caption_scores.json holds what pycocoevalcap 1.2 gives on captions of our own.

METEOR is not computed: its aligner and its 60 MB paraphrase table exist only for Java. `METEOR-lite` is its documented
substitute: the harmonic mean and the fragmentation penalty of the first METEOR (Banerjee and Lavie 2005) over exact and
stemmed words, without synonyms and paraphrases. It ranks systems; do not compare it with published METEOR numbers.

Questions: VQAv2 accuracy, POPE, MME, ANLS.
"""

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from lav2.errors import LAV2Error

# --- COCO's tokenisation -------------------------------------------------------------------------------------------

_DROPPED = re.compile(r"[`'?!,:;]|\.+|-+")  # COCO drops these, and keeps "!!" and brackets
_PLAIN = str.maketrans({"’": "'", "‘": "`", "“": " ", "”": " ", '"': " ", "–": "-- ", "—": "-- ", "…": "...", "\u00a0": " "})
_BRACKETS = {"(": "-lrb-", ")": "-rrb-", "[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-"}
_ABBREVIATED = (
    "mr mrs ms dr st jr sr vs etc co inc ltd corp mt ave blvd rd ft prof gen capt lt sgt gov sen rep hon rev "
    "jan feb mar apr jun jul aug sep sept oct nov dec mon tue tues wed thu thurs fri"
).split()
_WORD = r"[^\W_]+"
_TOKEN = re.compile(
    rf"""
      https?://\S+ | www\.\S+ | [\w.+-]+@[\w-]+\.\w+ | <[a-z/][^<>\s]*>
    | [:;]-?[()]                                                     # a smiley is one token
    | (?<![^\W_])(?:[a-z]\.){{2,}}                                   # u.s.
    | (?<![^\W_])ph\.d\.
    | (?<![^\W_])(?:{"|".join(_ABBREVIATED)})\.(?!\w)
    | no\.(?=\s*\d)
    | (?<!\w)[+-]?\d+(?:[.,:/-]\d+)+(?!\w) | \d+:\d+ | (?<!\w)[+-]\d+\b | \.\d+
    | \bcan(?=not\b) | \bgon(?=na\b) | \bgot(?=ta\b) | \bwan(?=na\b) | \bgim(?=me\b) | \blem(?=me\b)
    | '(?:s|m|d|re|ve|ll|em)\b | (?<!\w)'n'?(?!\w) | '\d0s\b | (?<!\w)'t(?=is\b|was\b) | n't\b
    | (?-i:(?<!\w)[A-Z]+&[A-Z]+\b | (?<!\w)[A-HJ-Z]\.(?!\w))            # AT&T, an initial
    | \b[odl]'(?!clock\b)[^\W\d_]{{2,}} | \bo'clock\b | \bol'(?!\w)
    | (?:(?!n't\b){_WORD[:-1]})+(?:(?:[-_/](?={_WORD})|\.(?=[^\W\d_])){_WORD})*
    | [#@](?=[^\W\d])[\w-]+
    | \.{{3,}} | -{{2,}} | [!?]{{2,}}
    | \S
    """,
    re.VERBOSE | re.IGNORECASE,
)


def coco_tokens(caption: str) -> list[str]:
    """The lower-case tokens on which COCO's caption scores count: Penn Treebank rules, then most punctuation dropped.

    Follows Stanford's PTBTokenizer 3.4.1 with `-lowerCase` and the punctuation list of pycocoevalcap, by rules of our own
    (the agreement measured on captions is in tests/test_metrics.py). "A man's dog can't jump!" -> a man 's dog ca n't jump.
    """
    text = caption.translate(_PLAIN).replace("&amp;", "&")
    return [_BRACKETS.get(token, token.lower()) for token in _TOKEN.findall(text) if not _DROPPED.fullmatch(token)]


# --- captions ------------------------------------------------------------------------------------------------------

Id = str | int
MAX_N = 4  # BLEU and CIDEr-D look at word groups of 1 to 4


def caption_scores(candidates: Mapping[Id, str], references: Mapping[Id, Sequence[str]]) -> dict[str, float]:
    """BLEU-1..4 (corpus), METEOR-lite, ROUGE-L and CIDEr-D (means over photos) of one caption per photo.

    `references` may hold more photos than `candidates`; CIDEr-D's word weights come from the scored photos, as in
    pycocoevalcap. All are in 0..1 but CIDEr-D (0..10). Raises LAV2Error for no candidates or one without references.
    """
    if not candidates:
        raise LAV2Error("There are no captions to score.", "Give at least one caption per photo.")
    missing = [i for i in candidates if not references.get(i)]
    if missing:
        raise LAV2Error(
            f"{len(missing)} of {len(candidates)} captioned photos have no reference captions, the first is {missing[0]!r}.",
            "Check that both files name photos by the same ids.",
        )
    guesses = [coco_tokens(text) for text in candidates.values()]
    truths = [[coco_tokens(text) for text in references[i]] for i in candidates]
    pairs = list(zip(guesses, truths, strict=True))
    scores = {f"BLEU-{n}": value for n, value in enumerate(_bleu(pairs), 1)}
    scores["METEOR-lite"] = float(np.mean([max(_meteor_lite(g, t) for t in ts) for g, ts in pairs]))
    scores["ROUGE-L"] = float(np.mean([_rouge_l(g, ts) for g, ts in pairs]))
    scores["CIDEr-D"] = float(cider_d(guesses, truths).mean())
    return scores


def cider_d(guesses: Sequence[Sequence[str]], truths: Sequence[Sequence[Sequence[str]]]) -> np.ndarray:
    """CIDEr-D of each photo -> [n] float64 (Vedantam et al., arXiv:1411.5726, sigma 6, clipped, times 10).

    Tokens in, from `coco_tokens`. The length penalty compares numbers of word pairs, as pycocoevalcap does.
    """
    seen = Counter(gram for ts in truths for gram in set().union(*(_grams(t) for t in ts)))
    photos = math.log(len(truths))

    def weigh(tokens: Sequence[str]) -> tuple[list[dict], np.ndarray]:
        weights: list[dict] = [{} for _ in range(MAX_N)]
        for gram, count in _grams(tokens).items():
            weights[len(gram) - 1][gram] = count * (photos - math.log(max(1, seen[gram])))
        return weights, np.sqrt([sum(w * w for w in level.values()) for level in weights])  # norms [4]

    scores = []
    for guess, ts in zip(guesses, truths, strict=True):
        weights, norms = weigh(guess)
        total = 0.0
        for t in ts:
            true_weights, true_norms = weigh(t)
            dots = np.array(
                [
                    sum(min(w, r[gram]) * r[gram] for gram, w in level.items() if gram in r)
                    for level, r in zip(weights, true_weights, strict=True)
                ]
            )
            length = norms * true_norms  # [4]
            cosine = np.divide(dots, length, out=np.zeros(MAX_N), where=length != 0)
            delta = max(len(guess) - 1, 0) - max(len(t) - 1, 0)
            total += cosine.mean() * math.exp(-(delta**2) / (2 * 6.0**2))
        scores.append(10.0 * total / len(ts))
    return np.array(scores)


def _grams(tokens: Sequence[str]) -> Counter:
    return Counter(tuple(tokens[i : i + n]) for n in range(1, MAX_N + 1) for i in range(len(tokens) - n + 1))


def _bleu(pairs: Sequence[tuple[list[str], list[list[str]]]]) -> list[float]:
    """Corpus BLEU-1..4 (Papineni et al. 2002), the closest reference length (the shorter of two as close)."""
    right, made = np.zeros(MAX_N), np.zeros(MAX_N)
    guess_length = true_length = 0
    for guess, ts in pairs:
        most = Counter()
        for t in ts:
            most |= _grams(t)
        for gram, count in _grams(guess).items():
            right[len(gram) - 1] += min(count, most[gram])
            made[len(gram) - 1] += count
        guess_length += len(guess)
        true_length += min((abs(len(t) - len(guess)), len(t)) for t in ts)[1]
    if guess_length == 0:
        return [0.0] * MAX_N
    brevity = min(1.0, math.exp(1 - true_length / guess_length))
    precision = (right + 1e-15) / (made + 1e-9)  # pycocoevalcap's constants: no word group in common is not log(0)
    return [float(brevity * np.prod(precision[:n]) ** (1 / n)) for n in range(1, MAX_N + 1)]


def _rouge_l(guess: Sequence[str], truths: Sequence[Sequence[str]]) -> float:
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
    """10PR / (R + 9P) times 1 - 0.5 (chunks / matches)^3, words aligned exactly first, then by stem, longest runs first."""
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


def read_coco_results(path: str | Path) -> dict[Id, str]:
    """Captions of a COCO result file: `[{"image_id", "caption"}, ...]` -> {image_id: caption}."""
    rows = _json(path)
    return {row["image_id"]: row["caption"] for row in _each(path, rows, ("image_id", "caption"))}


def write_coco_results(path: str | Path, candidates: Mapping[Id, str]) -> None:
    """Write captions as COCO's server and pycocotools read them."""
    rows = [{"image_id": i, "caption": text} for i, text in candidates.items()]
    Path(path).write_text(json.dumps(rows, ensure_ascii=False, indent=0) + "\n", encoding="utf-8")


def read_references(path: str | Path, split: str | None = None) -> dict[Id, list[str]]:
    """Human captions per photo, of a COCO captions file (.json, key image id) or of captions.jsonl (key image path).

    `split` keeps one split of captions.jsonl; a COCO file holds one split.
    """
    found: dict[Id, list[str]] = {}
    if Path(path).suffix == ".jsonl":
        for row in _each(path, _json_lines(path), ("image", "captions")):
            if split is None or row.get("split") == split:
                found[row["image"]] = row["captions"]
        return found
    for row in _each(path, _field(path, _json(path), "annotations"), ("image_id", "caption")):
        found.setdefault(row["image_id"], []).append(row["caption"])
    return found


def read_coco_images(path: str | Path, images: str | Path) -> dict[Id, Path]:
    """Where each photo of a COCO captions file lies: {image id: file}, looked for by name under the folder `images`."""
    rows = _each(path, _field(path, _json(path), "images"), ("id", "file_name"))
    return _located({row["id"]: row["file_name"] for row in rows}, Path(images))
