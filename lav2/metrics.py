"""Scores of the field for captions and answers, in numpy, reading the benchmarks' own files. No torch, no
Java, no network.

Captions: BLEU-1..4, ROUGE-L and CIDEr-D after COCO's tokenisation, to the numbers of pycocoevalcap (Chen et
al., arXiv:1504.00325). They are written here from the papers and not imported from it: its only wheel is 104
MB (mostly Java archives), nobody has released since 2020, its BLEU file forbids commercial use, and without
Java its tokeniser does not run. tests/fixtures/caption_scores.json holds what pycocoevalcap 1.2 gives on
captions of our own.

METEOR is not computed: its aligner and its 60 MB paraphrase table exist only for Java. `METEOR-lite` is its
documented substitute: the harmonic mean and the fragmentation penalty of the first METEOR (Banerjee and Lavie
2005) over exact and stemmed words, without synonyms and paraphrases. It ranks systems; do not compare it with
published METEOR numbers.

Questions: VQAv2 accuracy, POPE, MME, ANLS.
"""

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lav2.errors import LAV2Error
from lav2.files import json_rows, read_json, read_text

# --- COCO's tokenisation ------------------------------------------------------------------------------------

_DROPPED = re.compile(r"[`'?!,:;]|\.+|-+")  # COCO drops these, and keeps "!!" and brackets
_PLAIN = str.maketrans(
    {"’": "'", "‘": "`", "“": " ", "”": " ", '"': " ", "–": "-- ", "—": "-- ", "…": "...", "\u00a0": " "}
)
_BRACKETS = {"(": "-lrb-", ")": "-rrb-", "[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-"}
_ABBREVIATED = (
    "mr|mrs|ms|dr|st|jr|sr|vs|etc|co|inc|ltd|corp|mt|ave|blvd|rd|ft|prof|gen|capt|lt|sgt|gov|sen|rep|hon|rev"
    "|jan|feb|mar|apr|jun|jul|aug|sep|sept|oct|nov|dec|mon|tue|tues|wed|thu|thurs|fri"
)
_WORD = r"[^\W_]+"
_TOKEN = re.compile(
    rf"""
      https?://\S+ | www\.\S+ | [\w.+-]+@[\w-]+\.\w+ | <[a-z/][^<>\s]*>
    | [:;]-?[()]                                                     # a smiley is one token
    | (?<![^\W_])(?:[a-z]\.){{2,}}                                   # u.s.
    | (?<![^\W_])ph\.d\.
    | (?<![^\W_])(?:{_ABBREVIATED})\.(?!\w)
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
    """The lower-case tokens on which COCO's caption scores count: Penn Treebank rules, then most punctuation
    dropped.

    Follows Stanford's PTBTokenizer 3.4.1 with `-lowerCase` and the punctuation list of pycocoevalcap, by
    rules of our own (the agreement measured on captions is in tests/test_metrics.py). "A man's dog can't
    jump!" -> a man 's dog ca n't jump.
    """
    text = caption.translate(_PLAIN).replace("&amp;", "&")
    return [
        _BRACKETS.get(token, token.lower()) for token in _TOKEN.findall(text) if not _DROPPED.fullmatch(token)
    ]


# --- captions -----------------------------------------------------------------------------------------------

Id = str | int
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
        weights: list[dict] = [{} for _ in range(MAX_N)]
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
        return 10.0 * cosine.mean() * math.exp(-(delta**2) / (2 * 6.0**2))


def grams(tokens: Sequence[str], longest: int = MAX_N) -> Counter:
    """How often each group of 1 to `longest` neighbouring words comes."""
    return Counter(tuple(tokens[i : i + n]) for n in range(1, longest + 1) for i in range(len(tokens) - n + 1))


def _bleu(pairs: Sequence[tuple[list[str], list[list[str]]]]) -> list[float]:
    """Corpus BLEU-1..4 (Papineni et al. 2002), the closest reference length (the shorter of two as close)."""
    right, made = np.zeros(MAX_N), np.zeros(MAX_N)
    guess_length = true_length = 0
    for guess, ts in pairs:
        most = Counter()
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
                while (
                    i + length < len(words)
                    and j + length < len(goals)
                    and words[i + length] == goals[j + length]
                ):
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
    """Human captions per photo, of a COCO captions file (.json, key image id) or of captions.jsonl (key image
    path).

    `split` keeps one split of captions.jsonl; a COCO file holds one split.
    """
    found: dict[Id, list[str]] = {}
    if Path(path).suffix == ".jsonl":
        for number, row in enumerate(_each(path, _json_lines(path), ("image", "captions")), 1):
            texts = row["captions"]
            if not isinstance(texts, list) or not all(isinstance(text, str) for text in (row["image"], *texts)):
                raise LAV2Error(f"{path}, row {number} is not a photo with a list of captions.", "Mend or remove it.")
            if split is None or row.get("split") == split:
                found[row["image"]] = row["captions"]
        return found
    for row in _each(path, _field(path, _json(path), "annotations"), ("image_id", "caption")):
        found.setdefault(row["image_id"], []).append(row["caption"])
    return found


def read_coco_images(path: str | Path, images: str | Path) -> dict[Id, Path]:
    """Where each photo of a COCO captions file lies: {image id: file}, looked for by name under the folder
    `images`.
    """
    rows = _each(path, _field(path, _json(path), "images"), ("id", "file_name"))
    return _located({row["id"]: row["file_name"] for row in rows}, Path(images))


# --- questions ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Question:
    """One question of a benchmark: `answers` are the accepted ones, `subset` the part of the benchmark it
    counts in.
    """

    id: Id
    image: Path
    text: str
    answers: tuple[str, ...]
    subset: str = ""


def read_vqav2(folder: str | Path, images: str | Path | None = None) -> list[Question]:
    """VQAv2 (or VQAv1) as downloaded: one `*questions.json` and one `*annotations.json` in `folder`; subset =
    answer type.

    `images` is the folder (searched below) with COCO_val2014_000000000042.jpg and so on; by default `folder`
    itself.
    """
    folder = Path(folder)
    question_file, annotation_file = (_only(folder, f"*{kind}.json") for kind in ("questions", "annotations"))
    content = _json(question_file)
    asked = _each(
        question_file, _field(question_file, content, "questions"), ("question_id", "image_id", "question")
    )
    rows = _field(annotation_file, _json(annotation_file), "annotations")
    truth = {
        r["question_id"]: r for r in _each(annotation_file, rows, ("question_id", "answers", "answer_type"))
    }
    kind = content.get("data_subtype", "val2014")
    files = _located(
        {r["question_id"]: f"COCO_{kind}_{int(r['image_id']):012d}.jpg" for r in asked},
        Path(images or folder),
    )
    return [
        Question(
            id=i,
            image=files[i],
            text=row["question"],
            answers=tuple(a["answer"] for a in truth[i]["answers"]),
            subset=truth[i]["answer_type"],
        )
        for row in asked
        if (i := row["question_id"]) in truth
    ]


def vqa_scores(questions: Sequence[Question], answers: Mapping[Id, str]) -> dict[str, float]:
    """VQAv2 accuracy, 0..1: `all`, and one per subset (answer type)."""
    return _by_subset(
        questions, [vqa_accuracy(answers[q.id], q.answers) for q in _answered(questions, answers)]
    )


def vqa_accuracy(answer: str, truths: Sequence[str]) -> float:
    """min(1, people who gave this answer / 3), averaged over leaving out each person in turn (Antol et al.
    2015).

    As in the official script: the answer is normalised, people's answers only lose their punctuation, and
    only when they differ.
    """
    answer = vqa_normalise(answer)
    if len(set(truths)) > 1:
        truths = [_without_punctuation(t) for t in truths]
    same = sum(t == answer for t in truths)
    return float(np.mean([min(1.0, (same - (t == answer)) / 3) for t in truths]))


def vqa_normalise(answer: str) -> str:
    """VQAv2's form of an answer: lower case, no punctuation and articles, digits for number words, usual
    contractions.
    """
    text = _without_punctuation(re.sub(r"[\n\t]", " ", answer).strip())
    words = [_NUMBERS.get(word, word) for word in text.lower().split()]
    return " ".join(_CONTRACTED.get(word, word) for word in words if word not in ("a", "an", "the"))


_NUMBER_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_NUMBERS = {"none": "0"} | {word: str(n) for n, word in enumerate(_NUMBER_WORDS)}
_CONTRACTIONS = (
    "ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't "
    "haven't he'd he'd've he's how'd how'll how's isn't it'd it'd've it'll ma'am mightn't mightn't've "
    "might've mustn't must've needn't not've o'clock oughtn't shan't she'd've should've shouldn't "
    "shouldn't've somebody'd've somebody'll somebody's someone'd someone'd've someone'll someone's "
    "something'd something'd've something'll that's there'd there'd've there're there's they'd they'd've "
    "they'll they're they've 'twas wasn't we'd've we've weren't what'll what're what's what've when's "
    "where'd where's where've who'd who'd've who'll who's who've why'll why're why's won't would've "
    "wouldn't wouldn't've y'all y'all'll y'all'd've you'd you'd've you'll you're you've"
)


def _contraction_table() -> dict[str, str]:
    """Each contraction with one apostrophe forgotten -> the right spelling.

    Equal to the official table but for its four oddities: three spellings of 'ow's'at, and somebody'd ->
    somebodyd.
    """
    table = {}
    for right in _CONTRACTIONS.split():
        for i in (i for i, letter in enumerate(right) if letter == "'"):
            table[right[:i] + right[i + 1 :]] = right
    return table


_CONTRACTED = _contraction_table()


def _without_punctuation(text: str) -> str:
    """VQAv2's rule: a sign beside a space, or any sign where digits hold a comma, goes; other signs become a
    space.
    """
    result = text
    for sign in ';/[]"{}()=+\\_-><@`,?!':
        alone = f"{sign} " in text or f" {sign}" in text or re.search(r"\d,\d", text)
        result = result.replace(sign, "" if alone else " ")
    return re.sub(r"\.(?!\d)", "", result)


def read_pope(folder: str | Path, images: str | Path | None = None) -> list[Question]:
    """POPE as downloaded: `*_pope_random.json`, `_popular`, `_adversarial` (one JSON object a line) in
    `folder`.

    Lines: {"question_id", "image", "text", "label": yes or no}. Ids become "random/1"; the subset is the last
    word of the file name. `images` is the folder (searched below) with the COCO photos; by default `folder`.
    """
    files = sorted(Path(folder).glob("*pope*.json*"))
    if not files:
        raise LAV2Error(
            f"{folder} has no POPE files.", "Give the folder with coco_pope_random.json and its siblings."
        )
    found = []
    for file in files:
        subset = file.stem.split("_")[-1]
        for row in _each(file, _json_lines(file), ("question_id", "image", "text", "label")):
            found.append((f"{subset}/{row['question_id']}", row, subset))
    where = _located({i: row["image"] for i, row, _ in found}, Path(images or folder))
    return [Question(i, where[i], row["text"], (row["label"],), subset) for i, row, subset in found]


def pope_scores(questions: Sequence[Question], answers: Mapping[Id, str]) -> dict[str, dict[str, float]]:
    """POPE (Li et al., arXiv:2305.10355) per subset and `all`: accuracy, precision, recall, F1, yes-ratio;
    "yes" is positive.
    """
    said = {q.id: pope_answer(answers[q.id]) for q in _answered(questions, answers)}
    scores = {}
    for subset in [*dict.fromkeys(q.subset for q in questions), "all"]:
        part = [q for q in questions if subset in (q.subset, "all")]
        yes = np.array([said[q.id] == "yes" for q in part])  # [n]
        true = np.array([q.answers[0] == "yes" for q in part])  # [n]
        hits = int((yes & true).sum())
        precision, recall = hits / max(1, int(yes.sum())), hits / max(1, int(true.sum()))
        scores[subset] = {
            "accuracy": float((yes == true).mean()),
            "precision": precision,
            "recall": recall,
            "F1": 2 * hits / max(1, int(yes.sum() + true.sum())),
            "yes-ratio": float(yes.mean()),
        }
    return scores


def pope_answer(answer: str) -> str:
    """ "no" if the first sentence has the word No, no or not, else "yes" (POPE's own rule)."""
    words = answer.split(".")[0].replace(",", "").split(" ")
    return "no" if {"No", "not", "no"} & set(words) else "yes"


MME_PERCEPTION = (
    "existence",
    "count",
    "position",
    "color",
    "posters",
    "celebrity",
    "scene",
    "landmark",
    "artwork",
    "OCR",
)
MME_COGNITION = ("commonsense_reasoning", "numerical_calculation", "text_translation", "code_reasoning")


def read_mme(folder: str | Path) -> list[Question]:
    """MME as downloaded: a folder per subtask; beside each photo, or in questions_answers_YN/, NAME.txt.

    A .txt holds two lines "question<TAB>Yes" and "question<TAB>No"; photos lie beside it or in images/. Ids:
    "subtask/NAME/1".
    """
    folder = Path(folder)
    found = []
    for subtask in (s for s in MME_PERCEPTION + MME_COGNITION if (folder / s).is_dir()):
        texts = sorted(
            [*(folder / subtask).glob("*.txt"), *(folder / subtask / "questions_answers_YN").glob("*.txt")]
        )
        images = _by_stem(folder / subtask)
        for file in texts:
            if file.stem not in images:
                raise LAV2Error(
                    f"{file} has no photo of the same name.", f"Put it in {folder / subtask / 'images'}."
                )
            lines = [line.split("\t") for line in read_text(file).splitlines() if line.strip()]
            if len(lines) != 2 or any(len(line) != 2 for line in lines):
                raise LAV2Error(
                    f"{file} is not two lines of question, tab, answer.", "Download this MME file again."
                )
            for n, (question, answer) in enumerate(lines, 1):
                name = f"{subtask}/{file.stem}/{n}"
                found.append(Question(name, images[file.stem], question, (answer.strip().lower(),), subtask))
    if not found:
        raise LAV2Error(
            f"{folder} has none of MME's subtasks.", f"It should hold folders such as {MME_PERCEPTION[0]}/."
        )
    return found


def mme_scores(questions: Sequence[Question], answers: Mapping[Id, str]) -> dict[str, dict[str, float]]:
    """MME (Fu et al., arXiv:2306.13394): per subtask accuracy and accuracy+ (both questions of a photo right)
    in percent and their sum (0..200); `perception` and `cognition` add the subtasks' sums. The two questions
    of a photo share their id up to the last "/".
    """
    right: dict[str, dict[str, list[bool]]] = {}
    for q in _answered(questions, answers):
        photo = str(q.id).rsplit("/", 1)[0]
        right.setdefault(q.subset, {}).setdefault(photo, []).append(mme_answer(answers[q.id]) == q.answers[0])
    scores = {}
    for subtask, photos in right.items():
        accuracy = 100 * float(np.mean([r for pair in photos.values() for r in pair]))
        plus = 100 * float(np.mean([all(pair) for pair in photos.values()]))
        scores[subtask] = {"accuracy": accuracy, "accuracy+": plus, "score": accuracy + plus}
    groups = {"perception": MME_PERCEPTION, "cognition": MME_COGNITION}
    sums = {
        g: {"score": sum(scores[s]["score"] for s in names if s in scores)} for g, names in groups.items()
    }
    return scores | sums


def mme_answer(answer: str) -> str:
    """yes, no or other, from the first four characters (MME's own rule)."""
    start = answer.strip().lower()[:4]
    return "yes" if "yes" in start else "no" if "no" in start else "other"


def read_docvqa(path: str | Path, images: str | Path | None = None) -> list[Question]:
    """DocVQA, ST-VQA or another of the Robust Reading Challenge: JSON {"data": [{"questionId" or
    "question_id", "question", "image" or "file_path", "answers"}]}. Photos are looked for by name below
    `images` (default: the file's folder).
    """
    path = Path(path)
    rows = _each(path, _field(path, _json(path), "data"), ("question", "answers"))
    ids = [row.get("questionId", row.get("question_id")) for row in rows]
    names = {
        i: Path(row.get("image") or row.get("file_path", "")).name for i, row in zip(ids, rows, strict=True)
    }
    photos = _located(names, Path(images or path.parent))
    return [Question(i, photos[i], r["question"], tuple(r["answers"])) for i, r in zip(ids, rows, strict=True)]


def anls_scores(questions: Sequence[Question], answers: Mapping[Id, str]) -> dict[str, float]:
    """ANLS, 0..1: `all`, and one per subset."""
    return _by_subset(questions, [anls(answers[q.id], q.answers) for q in _answered(questions, answers)])


def anls(answer: str, truths: Sequence[str], threshold: float = 0.5) -> float:
    """1 - edit distance / longer length to the nearest accepted answer, 0 from `threshold` on (Biten et al.
    2019).
    """
    answer = " ".join(answer.lower().split())
    best = 0.0
    for truth in (" ".join(t.lower().split()) for t in truths):
        distance = _edits(answer, truth) / max(1, len(answer), len(truth))
        best = max(best, 1 - distance if distance < threshold else 0.0)
    return best


def _edits(a: str, b: str) -> int:
    """Levenshtein distance."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        before, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (x != y))
    return row[-1]


# --- how sure a number is -----------------------------------------------------------------------------------


class Interval(NamedTuple):
    """A mean and its 95 % interval."""

    mean: float
    low: float
    high: float


def bootstrap_interval(
    a: Sequence[float], b: Sequence[float] | None = None, n: int = 10_000, seed: int = 0
) -> Interval:
    """95 % percentile bootstrap interval of mean(a), or of mean(a - b) when `b` scores the same questions in
    the same order.

    Raises LAV2Error for no values or unequal lengths.
    """
    values = np.asarray(a, np.float64)  # [m]
    if b is not None:
        if len(a) != len(b):
            raise LAV2Error(
                f"{len(a)} and {len(b)} scores are not pairs.", "Score both on the same questions."
            )
        values = values - np.asarray(b, np.float64)
    if len(values) == 0:
        raise LAV2Error("There are no scores to average.", "Give at least one.")
    rng = np.random.default_rng(seed)
    # A resample is how often each question is drawn; in slices, so that 10,000 of them stay small in memory.
    slices = [min(500, n - done) for done in range(0, n, 500)]
    uniform = np.full(len(values), 1 / len(values))
    means = np.concatenate([rng.multinomial(len(values), uniform, size=k) @ values for k in slices]) / len(
        values
    )
    low, high = np.percentile(means, [2.5, 97.5])
    return Interval(float(values.mean()), float(low), float(high))


# --- reading files ------------------------------------------------------------------------------------------


def _answered(questions: Sequence[Question], answers: Mapping[Id, str]) -> Sequence[Question]:
    missing = [q.id for q in questions if q.id not in answers]
    if missing or not questions:
        first = f", the first is {missing[0]!r}" if missing else ""
        raise LAV2Error(
            f"{len(missing)} of {len(questions)} questions have no answer{first}.",
            "Answer every question of the set; an empty answer counts as wrong.",
        )
    return questions


def _by_subset(questions: Sequence[Question], scores: Sequence[float]) -> dict[str, float]:
    groups: dict[str, list[float]] = {}
    for question, score in zip(questions, scores, strict=True):
        if question.subset:
            groups.setdefault(question.subset, []).append(score)
    return {"all": float(np.mean(scores))} | {name: float(np.mean(part)) for name, part in groups.items()}


def _json(path: str | Path):
    return read_json(path, "Check that the download is complete.")


def _json_lines(path: str | Path) -> list[dict]:
    return [row for _, row in json_rows(path)]


def _field(path: str | Path, content, name: str):
    if not isinstance(content, dict) or name not in content:
        raise LAV2Error(f'{path} has no "{name}".', "Check that this is the benchmark's file of that kind.")
    return content[name]


def _each(path: str | Path, rows, fields: Iterable[str]) -> list[dict]:
    """The rows, once each is known to have the fields."""
    if not isinstance(rows, list):
        raise LAV2Error(
            f"{path} is not a list of rows.", "Check that this is the benchmark's file of that kind."
        )
    for number, row in enumerate(rows, 1):
        missing = [f for f in fields if not isinstance(row, dict) or f not in row]
        if missing:
            raise LAV2Error(f"{path}, row {number} has no {', '.join(missing)}.", "Mend or remove that row.")
    return rows


def _only(folder: Path, pattern: str) -> Path:
    files = sorted(folder.glob(pattern))
    if len(files) != 1:
        raise LAV2Error(
            f"{folder} has {len(files)} files {pattern}, one is needed.", "Give a folder with one split."
        )
    return files[0]


_PHOTOS = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp"}


def _by_stem(folder: Path) -> dict[str, Path]:
    return {f.stem: f for f in sorted(folder.rglob("*")) if f.suffix.lower() in _PHOTOS}


def _located(names: Mapping[Id, str], folder: Path) -> dict[Id, Path]:
    """Each named photo below the folder. Another ending (.webp for .jpg) is accepted: people re-encode
    photos.
    """
    files = _by_stem(folder)
    missing = [name for name in names.values() if Path(name).stem not in files]
    if missing:
        raise LAV2Error(
            f"{len(missing)} of {len(names)} photos are not below {folder}, the first is {missing[0]}.",
            "Give the folder that holds the benchmark's photos.",
        )
    return {i: files[Path(name).stem] for i, name in names.items()}
