"""Which row of a text proves a yes or no, and which of the two: small networks beside the language model."""
