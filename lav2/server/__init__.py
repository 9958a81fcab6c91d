"""The server around the page: its port and files, what it lets in, its log, the OpenAI-compatible API. No torch."""
