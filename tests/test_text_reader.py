"""The reader of texts tells which row and which words answer a question, and whether a row means yes."""

import json
import pickle

import pytest
import torch
from tiny import adapted, clip_tokens, open_gates, tokenizer

from experts.evidence import from_json
from lav2.config import EMBEDDED
from lav2.documents import reader as learning
from lav2.documents import written
from lav2.documents.answered import made_up, question_sets, texts
from lav2.documents.layout import ocr_json
from lav2.errors import LAV2Error
from lav2.events import Sampling, Turn
from lav2.inference import search, streaming
from lav2.inference.sampler import Bias, RowBias, SequenceSampler
from lav2.model.checkpoint import READER
from lav2.reading import likely, pages, text_reader
from lav2.reading.candidates import alone, candidates, proof
from lav2.reading.relations import relation
from lav2.reading.spans import written as as_written
from lav2.reading.words import asked, places, stem, words
from lav2.text import weighing
from lav2.text.weighing import ABSENT, NOTHING, NOTHING_TOLD, Likely, Passage, Told
from lav2.weights import find

GREEDY = Sampling(max_new_tokens=4, repetition_penalty=1.0)
SIGN = [
    ["CITY LIBRARY"],
    ["Mon - Fri", "9 - 18"],
    ["Dogs on a lead only"],
    ["No food or drinks"],
    ["Cards not accepted"],
]
TEXT = {"ocr": from_json("ocr", ocr_json(SIGN))}


@pytest.fixture(scope="module")
def shipped():
    return text_reader.load(find(EMBEDDED.adapter))


@pytest.mark.parametrize(
    ("question", "row", "yes"),
    [
        ("may my dog come along?", "Dogs on a lead only", True),
        ("can I bring a sandwich?", "No food or drinks", False),
        ("is food forbidden here?", "No food or drinks", True),
        ("can I pay by card?", "Cards not accepted", False),
    ],
)
def test_the_shipped_reader_tells_the_row_that_decides_and_what_it_means(shipped, question, row, yes):
    assert shipped.told(SIGN, question).proofs[0].text == row
    assert list(shipped.verdict(SIGN, question)(f"> {row}\n")) == ["Yes" if yes else "No"]


@pytest.mark.parametrize(
    ("question", "row", "said"),
    [
        ("Did they pay cash?", "Paid by card", "No"),
        ("can I pay with my card", "Cash please", "No"),
        ("Is it open on Monday?", "Mon closed", "No"),
        ("is it closed on Monday?", "Mon closed", "Yes"),
        ("Can I pay by card?", "Cards and cash accepted", "Yes"),
        ("is lunch included?", "Lunch is extra", "No"),
        ("do I have to book?", "No booking needed", "No"),
        ("are there tickets left?", "SOLD OUT", "No"),
        ("is it sold out?", "SOLD OUT", "Yes"),
        ("is it vegan?", "contains milk", "No"),
        ("is the lentil soup vegetarian?", "Lentil soup (v) 6.80", "Yes"),
        ("is the lamb tagine vegetarian?", "Lamb tagine 16.50", "No"),
        ("is the risotto gluten free?", "Wild mushroom risotto (gf) 13", "Yes"),
        ("is the kitchen open at 3 pm?", "Cash only: Kitchen closes at 15.30", "Yes"),
        ("may I park here on Saturday?", "No parking Mon - Fri", "Yes"),
        ("can I come on a Sunday?", "Mon - Sat 9 - 18", "No"),
        ("can I bring my dog in July?", "Dogs 1 Oct - 31 March only", "No"),
    ],
)
def test_a_row_with_the_opposite_of_what_is_asked_is_a_no(shipped, question, row, said):
    assert list(shipped.verdict([[row]], question)(f"> {row}\n")) == [said]


def test_a_verdict_is_the_same_alone_and_beside_longer_pairs(shipped):
    proofs = [
        alone("Cash only"),
        alone("Cards are taken from an amount of 10.00, except on the last Sunday of a month"),
    ]
    pairs = shipped.pairs("may I pay by card?", asked("may I pay by card?"), proofs)
    pairs += shipped.pairs("is it open?", asked("is it open?"), [alone("Mon - Fri")])
    torch.testing.assert_close(shipped.decide(pairs), torch.cat([shipped.decide([pair]) for pair in pairs]))


def test_the_shipped_reader_is_right_about_most_held_out_documents(shipped):
    held = texts(written.templates(held=True)[::8], 1)
    scores = learning.score(shipped, held)
    assert scores["questions of row"] > 150 and scores["row"] > 0.65 and scores["verdict of the true row"] > 0.68


def test_rows_weigh_once_a_proof_is_begun():
    told = Told(proofs=(Passage("Cash only", 0.8), Passage("Open daily", 0.06)))
    weights = weighing.likely(TEXT, "may I pay by card?", proof_first=True, told=told).answers
    assert weights[">", " Cash only"] > 5 * weights[">", " Open daily"] > 0
    assert weighing.likely(TEXT, "may I pay by card?", told=told) == NOTHING  # to a model that writes no proofs


RECEIPT = [
    ["CAFE LUNA"],
    ["Tea", "2.60"],
    ["Cheese toast", "5.40"],
    ["Served by Nina (till 2)"],
    ["Total", "8.00"],
    ["Wi-Fi password: moonpie7"],
    ["Open daily 8:00 - 17:00"],
]


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("who served them?", "Nina"),
        ("what did the toast cost?", "5.40"),
        ("whats the wifi password", "moonpie7"),
        ("how much in total?", "8.00"),
    ],
)
def test_the_shipped_reader_tells_the_words_that_answer(shipped, question, answer):
    assert shipped.told(RECEIPT, question).answers[0].text == answer


def test_words_are_told_as_the_text_has_them():
    text = "Chloë Putz (Tel. 555-01), İzmir’s café"
    assert [text[slice(*place)].lower() for place in places(text)][:2] == ["chlo", "putz"]
    assert as_written(text, 0, 1) == "Chloë Putz"
    assert as_written(text, 0, 0) == "Chloë" and as_written("Écran 7", 0, 0) == "Écran"
    assert as_written("Tea (hot) 2.60", 0, 1) == "Tea (hot)"
    assert len(places(text)) == len(words(text))


def test_what_a_reader_tells_is_weighed_to_the_end_and_leaves_yes_or_no_as_likely_as_before():
    told = Told(answers=(Passage("9 - 18", 0.8), Passage("18", 0.06)))
    weights = weighing.likely(TEXT, "when is it open?", proof_first=True, told=told)
    assert weights.whole["9 - 18"] == weights.answers[">"] > 5 * weights.whole["18"] > 0


def test_where_a_value_is_asked_for_no_proof_begins():
    mark = lambda closed: weighing.likely(  # noqa: E731
        TEXT, "when is it open?", proof_first=True, told=Told(answers=(Passage("9 - 18", 0.8),), closed=closed)
    ).answers[">"]
    assert mark(4.0) == mark(0.0) > 0 and mark(-4.0) == pytest.approx(mark(0.0) - 4 * weighing.CLOSED)


@pytest.mark.parametrize(
    ("question", "closed"),
    [
        ("may I pay by card", True),
        ("dogs allowed?", True),
        ("is food forbidden here", True),
        ("how much is the cheese toast", False),
        ("total?", False),
        ("what is the wifi password", False),
        ("Please tell me who served them", False),
    ],
)
def test_the_shipped_reader_knows_whether_yes_or_no_is_asked_for(shipped, question, closed):
    assert (shipped.told(SIGN if closed else RECEIPT, question).closed > 0) == closed


def test_the_surer_a_reader_is_that_a_text_does_not_answer_the_more_that_answer_weighs():
    weight = {none: weighing.likely(TEXT, "who?", True, Told(none=none)).whole.get(ABSENT) for none in (0.9, 0.3, 0.05)}
    assert weight[0.9] > weight[0.3] > 0 and weight[0.05] is None


def test_a_likely_answer_ends_where_it_is_whole():
    model, text = open_gates(adapted()), tokenizer()
    photo = model.prompt_kv(model.visual_prompt(clip_tokens()))
    pieces = streaming.stream(model, text, "w1 w2", photo, GREEDY, likely=Likely(whole={"w7 w8": 90.0}))
    assert "".join(piece for piece, _ in pieces).split() == ["w7", "w8"]


@pytest.mark.parametrize("written", ["", "Cash only\n", "> Cash only", "> Cash only\nNo", ">\n", "> - -\n"])
def test_a_verdict_is_told_behind_a_proof_alone(shipped, written):
    assert shipped.verdict(SIGN, "may I pay by card?")(written) == {}


@pytest.mark.parametrize("question", ["", "?", "카드로 계산할 수 있나요?"])
def test_a_question_without_words_that_it_knows_is_left_to_the_model(shipped, question):
    assert shipped.told(SIGN, question) == NOTHING_TOLD
    assert shipped.verdict(SIGN, question)("> Cash only\n") == {}


def test_what_follows_a_beginning_weighs_nothing_before_it_stands_there():
    likely = RowBias([Bias([2, 3], 9.0, start=1)])
    choice = SequenceSampler(Sampling(temperature=0.0), [0], [[1], [1]], [likely] * 2)
    logits = torch.tensor([[0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]])
    assert [choice(logits.clone()) for _ in range(2)] == [[1, 2], [1, 3]]  # the second row began with 2 by itself


def test_an_answer_goes_on_as_what_it_says_makes_likely():
    model, text = open_gates(adapted()), tokenizer()
    photo = model.prompt_kv(model.visual_prompt(clip_tokens()))

    def answer(likely):
        pieces = streaming.stream(model, text, "w1 w2", photo, GREEDY, likely=likely)
        return "".join(piece for piece, _ in pieces).split()

    plain = answer(NOTHING)
    other = "w7" if plain[1] != "w7" else "w8"
    assert answer(Likely({(plain[0], f" {other}"): 90.0}))[:2] == [plain[0], other]
    assert answer(Likely({("w9 w9", f" {other}"): 90.0})) == plain
    moved = Likely(following=lambda written: {other: 90.0} if written == plain[0] else {})
    assert answer(moved)[:2] == [plain[0], other]
    twice = model.prompt_kv(model.visual_prompt(clip_tokens().repeat(2, 1, 1)))
    whole = search.batch(model, text, ["w1 w2"] * 2, twice, GREEDY, [moved, NOTHING])
    assert whole[0].split()[:2] == [plain[0], other] and whole[1].split() == plain


def test_numbers_lie_below_above_or_between_those_of_a_row():
    told = lambda question, row: relation(words(question), words(row), row)[:5]  # noqa: E731
    assert told("is it free for a 5 year old", "Under 6 free") == [1, 1, 0, 0, 0]
    assert told("may I come at 19:00", "9:00 - 18:00") == [1, 0, 1, 0, 0]
    assert told("and at 12", "9 - 18") == [1, 0, 0, 0, 1]
    assert told("can I eat at 4 pm?", "until 15:30") == [1, 0, 1, 0, 0]
    assert told("may dogs come", "9 - 18") == [0, 0, 0, 0, 0]
    assert told("may two of us come", "1 or 2 persons") == [1, 0, 0, 1, 0]


@pytest.mark.parametrize(
    ("question", "row", "told"),
    [
        ("can I bring it back after 3 weeks?", "Return within 28 days", [1, 1, 0, 0, 0]),
        ("is five weeks too late?", "Return within 28 days", [1, 0, 1, 0, 0]),
        ("my van is 2.4 m high", "Max height 210cm", [1, 0, 1, 0, 0]),
        ("may I stay an hour and a half", "90 minutes", [1, 0, 0, 1, 0]),
        ("a bottle of half a litre", "200 ml to 1 l", [1, 0, 0, 0, 1]),
        ("my van is 2.4 m high", "Max weight 3.5 t", [0, 0, 0, 0, 0]),
        ("I am 5", "Under 6 free", [0, 0, 0, 0, 0]),
    ],
)
def test_amounts_are_compared_whatever_their_unit(question, row, told):
    assert relation(words(question), words(row), row)[5:10] == told


def test_a_row_knows_whether_what_stands_above_it_denies():
    rows = [["NO PARKING"], ["Mon - Fri"], ["Sat", "8 - 12"]]
    marks = {one.text: one.marks[-2:] for one in candidates(rows)}
    assert marks["NO PARKING"] == (0, 0) and marks["Mon - Fri"] == (1, 1) and marks["Sat 8 - 12"] == (0, 1)
    assert proof(rows, "Mon-Fri") == alone("Mon-Fri", (1, 1)) and proof(rows, "daily") == alone("daily")


def test_a_number_is_the_same_spelled_out():
    assert stem("two") == stem("2") and stem("one") != stem("1")


@pytest.mark.parametrize(
    ("question", "row", "days", "months"),
    [
        ("is it open on sundays", "Mon - Sat 9 - 18", [1, 0], [0, 0]),
        ("open on tuesday at 5 pm", "Mon-Fri 9-18", [1, 1], [0, 0]),
        ("can I come at the weekend", "daily 9 - 18", [1, 1], [0, 0]),
        ("is it running in july", "April to October", [0, 0], [1, 1]),
        ("is it running in march", "1 April - 30 June", [0, 0], [1, 0]),
        ("does it go in may", "summer and 1 May", [0, 0], [1, 1]),
        ("may I march in on friday", "Fri + Sat, winter only", [1, 1], [0, 0]),
        ("is it open", "Mon - Sat", [0, 0], [0, 0]),
    ],
)
def test_weekdays_and_months_lie_within_those_of_a_row_or_not(question, row, days, months):
    told = relation(words(question), words(row), row)
    assert (told[10:12], told[12:14]) == (days, months)


def test_a_candidate_knows_where_it_stands_and_how_its_number_compares():
    rows = [["Bus 12"], ["Mill Lane", "9:30"], ["Harbour", "10:45"]]
    marks = {one.text: one.marks for one in candidates(rows)}
    first, last, least, most = (1.0, 0.0, 1.0, 0.0), (0.0, 1.0, 0.0, 1.0), 6, 10
    assert marks["9:30"][least:most] == first and marks["10:45"][least:most] == last
    assert marks["Harbour"][:2] == (0.0, 1.0) and marks["Harbour"][most:14] == last  # the number beside it
    assert marks["Bus 12"][least:14] == (0.0,) * 8  # no other is written like it


def test_cells_and_rows_are_candidates_that_know_their_place():
    found = candidates([["Route", "Dogs"], ["12", "---", "free"]])
    assert [(one.text, one.place) for one in found] == [
        ("Route", (0, 0)), ("Dogs", (0, 1)), ("Route Dogs", (0, None)),
        ("12", (1, 0)), ("free", (1, 2)), ("12 --- free", (1, None)),
    ]  # fmt: skip
    assert found[-1].words == ["12", "free"] and candidates([["---"]]) == []


ROWS = [["Stop", "Dep."], ["", "---"], ["Mill Lane", "9:30"]]
HEADED = [["Stop", "Dep."], ["", "---"], ["Mill Lane", "Dep.: 9:30"]]


@pytest.fixture(scope="module")
def hidden():
    return text_reader.hidden_states(EMBEDDED.llm)


def test_the_tokens_of_a_page_know_their_cell_without_its_heading(hidden):
    found = candidates(ROWS)
    read = pages.page(ROWS, HEADED, found, hidden(pages.as_text(HEADED)))
    assert read.text == "Stop | Dep.\n | ---\nMill Lane | Dep.: 9:30\n"
    said = [read.text[read.places[first][0] : read.places[end - 1][1]].strip() for first, end in read.spans]
    assert said == ["Stop", "Dep.", "Stop | Dep.", "Mill Lane", "9:30", "Mill Lane | Dep.: 9:30"]
    last = [read.text[read.places[first][0] : read.places[end - 1][1]].strip() for first, end in read.words[-1]]
    assert last == ["Mill", "Lane", "9:30"]
    lane = next(at for at, (start, _) in enumerate(read.places) if read.text[start:].lstrip().startswith("Lane"))
    assert (read.rows[lane], read.columns[lane], read.own[lane], read.stems[lane]) == (2, 0, 1, "lane")
    own = [read.text[slice(*place)] for place, own in zip(read.places, read.own, strict=True) if own]
    assert "".join(own) == "Stop Dep. ---Mill Lane9:30"


def test_hidden_states_are_the_same_alone_and_beside_longer_texts(hidden):
    texts = ["Mill Lane 9:30", "Tea | 2.60\nCheese toast | 5.40\n", "Hi"]
    for one, together in zip(texts, hidden.of(texts), strict=True):
        alone = hidden(one)
        assert alone.places == together.places and torch.equal(alone.ids, together.ids)
        torch.testing.assert_close(alone.states, together.states, rtol=0.05, atol=0.3)  # bfloat16
        assert alone.states.shape == alone.vectors.shape == (len(alone.places), hidden.width)


def test_how_much_of_a_question_stands_in_a_row_is_told_by_rare_words_first(hidden):
    read = pages.page(ROWS, HEADED, candidates(ROWS), hidden(pages.as_text(HEADED)))
    asked = pages.asked("is the mill far?", hidden("is the mill far?"))
    same, shares = pages.overlaps(read, asked, {"the": 1.0, "is": 1.0, "far": 2.0, "mill": 4.0})
    assert [read.stems[at] for at in same.nonzero()[:, 0]] == ["mill"]
    torch.testing.assert_close(shares[-2], torch.tensor([4 / 8, 4 / 8, 0.0]))
    assert pages.met(read, asked).tolist() == [int(one == "mill") for one in asked.stems]


def test_a_few_documents_teach_which_row_decides():
    shortest = sorted(written.templates(), key=lambda one: len("".join(one["rows"])))
    learned = texts(shortest[20:28], 1)
    model = learning.learn(learned, epochs=12.0)
    scores = learning.score(model, learned)
    assert scores["row"] > 0.6 and scores["row of the answer"] > 0.6  # of a dozen candidates
    assert model.told(SIGN, "") == NOTHING_TOLD == model.told([], "may I?")


def test_question_sets_and_made_up_documents_are_learned_where_words_of_theirs_answer(tmp_path):
    stops = {"lines": ["Stop  Dep.", "Mill Lane  9:30"], "in_text": True}
    rows = [
        stops | {"question": "when does it leave mill lane", "answers": ["9:30"]},
        stops | {"question": "how many stops are there", "answers": ["1"]},
        stops | {"question": "is it far", "answers": ["no"], "in_text": False},
    ]
    (tmp_path / "text_qa_stops.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    (text,) = question_sets(tmp_path, 0)
    (question,) = text.questions
    assert (question.answer, [text.found[at].text for at in question.places]) == ("9:30", ["9:30"])
    made = made_up(60, 0)
    kinds = [bool(one.places) for text in made for one in text.questions]
    assert len(made) > 5 and 0.5 < sum(kinds) / len(kinds) < 1
    assert all(text.rows not in [one.rows for one in texts(written.templates()[:40], 1)] for text in made)


def test_documents_without_yes_or_no_teach_nothing():
    with pytest.raises(LAV2Error, match="no yes-or-no"):
        learning.learn([])


def test_a_reader_is_the_same_after_it_was_written_and_a_damaged_file_is_told(tmp_path, shipped):
    text_reader.save(shipped, tmp_path)
    again = text_reader.load(tmp_path)
    assert again.told(SIGN, "may I eat?") == shipped.told(SIGN, "may I eat?")
    (tmp_path / READER).write_bytes(b"no tensors")
    with pytest.raises(LAV2Error, match="cannot be read"):
        text_reader.load(tmp_path)
    (tmp_path / READER).unlink()
    assert text_reader.load(tmp_path) is None


def test_the_reader_knows_the_question_before_and_is_asked_for_texts_alone(shipped):
    with_text = likely.of(TEXT, "and a cat?", [Turn("may my dog come in?", "Yes")], True, shipped)
    assert any(isinstance(said, tuple) for said in with_text.answers) and with_text.following("> No food\n")
    for other in (likely.of({}, "may I?", [], True, shipped), likely.of(TEXT, "may I?", [], False, shipped)):
        assert other == NOTHING


def test_a_verdict_goes_to_another_process_without_its_networks(shipped):
    verdict = shipped.verdict(SIGN, "may I eat here?")
    sent = pickle.dumps(verdict)
    assert len(sent) < 1000
    assert pickle.loads(sent)("> No food or drinks\n") == verdict("> No food or drinks\n")


def test_the_words_before_a_question_are_read_behind_it():
    assert asked("and a cat?", "may my dog?") == ["and", "a", "cat", "#earlier", "may", "my", "dog"]
    assert alone("Cash only").words == ["cash", "only"]
