"""Captions: drafts, and the judge that chooses among them."""
