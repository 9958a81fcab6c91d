"""Training: stages of the adapter, self-critical training, the image encoder, the reranker."""
