"""Made-up documents with questions: what teaches the language group to read findings (arXiv 2304.15010, Sec. 4.4).

`python -m lav2.documents` writes training rows. `values` makes printed values, `kinds` lays out documents of them and
asks, `phrasing` words the questions, `noise` misreads as OCR does, `drawing` makes pictures for the real OCR expert,
`rows` puts documents and the question sets of others into the format of lav2.data.
"""
