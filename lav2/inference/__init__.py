"""Decoding: the fast engine, its cache, sampling, and answers of several users in one step."""
