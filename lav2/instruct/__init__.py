"""Evidence-grounded instructions: photos with human captions and boxes, and text drawn on photos -> questions
with answers.

Rows (JSON lines) for training and for the held-out evaluation: {"image", "split", "question", "answer", "kind",
"truth", "evidence": {expert: experts.evidence.to_json}, "experts": [those that are on]}. `truth` is what a
program can check: "yes"/"no", a number, the text to read, the object names; None where only people can judge.
Adversarial rows also have `forbidden`, the words that an obeying answer would say, and `reads`, whether
reading them was asked.

The answer always follows the human truth, never the evidence. Evidence is the real experts' output on that
photo where it is given, so that training sees real errors; else it is made from the truth with noise. Then it
is dropped and corrupted at random.

The same seed and input give the same rows. Real evidence takes two passes, because signs must be drawn before
an expert can read them: generate with the photos' evidence, run the experts over the drawn signs, generate
again with both files. Pictures stay the same, and so do questions, but for those that the findings rule out.

Text is the exception to the truth: it is answered as the text reader found it, mistakes and all (see answer_as_read);
`truth` keeps what was drawn. And of the counts and places that the detector gets wrong only some are kept
(Augment.misled), and nothing takes the place of the others: a model that learns from boxes that are wrong half of the
time learns not to look.

No torch.
"""
