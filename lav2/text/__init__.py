"""Rules on words: prompts, routing by the question, findings in the prompt, answers against findings. No torch."""
