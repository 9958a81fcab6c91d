"""The assistant: photo and question in, events out; who waits; receipts and votes."""
