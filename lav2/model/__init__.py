"""The frozen LLaMA with the adapter on it, image encoders, and their files."""
