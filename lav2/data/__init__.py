"""What is learned from: rows of files, image features, samples of tokens, batches."""
