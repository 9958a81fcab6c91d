"""Which of the texts that were read can be relied on. What EasyOCR makes of letters that it does not know (Korean,
Cyrillic), of texture and of blurred print looks like no writing: letters with digits amid them, capitals at odd places.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

WORDS = re.compile(r"[^\W\d_]+")
# What a text's looks count, for the logarithm of its odds to be right; fitted to 182 texts of 120 street photos (ICDAR
# 2015), 89 that EasyOCR made of Korean, Cyrillic, Greek, Arabic, Thai and Hindi, and 313 of drawn everyday pictures
ALONE = (4.4, 3.1, -1.6, -2.3)  # confidence, share of known words, oddness, 1; without regard to the texts beside it
BESIDE = (3.2, 3.0, -1.5, -4.2, -0.2)  # the same, before the 1 how unlikely the other texts of the photo are
LEAST = -0.5  # odds below which a text is not relied on
MOST_ODD = 2.0
PLAIN = set(".,:;!?'\"-/&()%$€£¥₩#@+=°·•©®™’‘“”–—")  # marks that stand in texts; any other is odd
ALIKE = str.maketrans("cosvwxzpukmtCOSVWXZPUKMT", "------------" * 2)  # small and capital letters of one shape
UNIT = re.compile(r"\d+([.,]\d+)?[a-z]{1,3}\d{0,2}|[a-z]{1,3}\d{1,4}", re.IGNORECASE)  # 500ml, 9am, 8h30, x12, 3rd


def reliable(lines: Sequence[tuple[np.ndarray, str, float]], words: frozenset[str]) -> np.ndarray:
    """[n] bool: which texts can be relied on. A code, a plate or a name need not be a word: what counts is the reader's
    confidence, the look of the text, and whether the texts beside it, by their area, were read any better.

    Args:
        lines: quad [4, 2] px, text and confidence 0..1 of all that was read in a photo, also of what is not told.
        words: known ones, in lower case.
    """
    if not lines:
        return np.zeros(0, bool)
    features = np.array([(sure, known_share(text, words), min(oddness(text), MOST_ODD), 1) for _, text, sure in lines])
    quads = np.array([quad for quad, _, _ in lines], float)
    area = np.hypot(*(quads[:, 1] - quads[:, 0]).T) * np.hypot(*(quads[:, 3] - quads[:, 0]).T)
    unlikely = area / (1 + np.exp(features @ ALONE))
    # as if one more of mean size were read well, so that a lone neighbour does not decide
    others = (unlikely.sum() - unlikely) / (area.sum() - area + area.mean() + 1e-6)
    return np.insert(features, 3, others, axis=1) @ BESIDE >= LEAST


def oddness(text: str) -> float:
    """0 for what may be written: words, names, numbers, prices, codes; about 1 for each odd thing in it."""
    odd = 0.0
    tokens = text.split()
    for token in tokens:
        core = token.strip("".join(PLAIN))
        for word in WORDS.findall(core):
            cased = word.translate(ALIKE)
            odd += bool(re.search(r"[a-zà-ÿ]-*[A-ZÀ-Þ]", cased)) and not re.fullmatch(
                r"[A-Z]?[a-z-]{2,}[A-Z][a-z-]{2,}|(Mc|Mac|De|La|i|e)[A-Z]\w+|[A-Z]{2,}", word
            )
            vowels = re.search(r"[aeiouyà-ÿ]", word.lower())
            odd += (len(word) > 5 and not vowels) or bool(re.search(r"[bcdfghjklmnpqrstvwxz]{6}", word.lower()))
        if any(c.islower() for c in core) and any(c.isdigit() for c in core) and not UNIT.fullmatch(core):
            odd += len(re.findall(r"[^\W\d_]\d+(?=[^\W\d_])|^\d+(?=[^\W\d_])|(?<=[^\W\d_])\d+$", core)) / 2
    strange = sum(not c.isalnum() and not c.isspace() and c not in PLAIN for c in text)
    marks = sum(not c.isalnum() and not c.isspace() for c in text)
    odd += strange / 2 + (marks > 0.4 * max(1, len(text)))
    singles = [token for token in tokens if len(token) == 1 and token.isalnum()]
    if len(singles) >= 4 and not (all(c.isupper() for c in singles) or all(c.isdigit() for c in singles)):
        odd += 1
    return float(odd)


def known_share(text: str, words: frozenset[str]) -> float:
    """Of its letters, how many belong to known words."""
    found = WORDS.findall(text.lower())
    letters = sum(map(len, found))
    return sum(len(word) for word in found if word in words) / letters if letters else 0.0
