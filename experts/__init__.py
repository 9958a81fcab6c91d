"""Expert programs that look at a photo (caption, detection, OCR), and how their findings enter a prompt."""
