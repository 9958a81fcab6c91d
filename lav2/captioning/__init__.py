"""Captions: drafts, and the reranker that chooses among them."""
