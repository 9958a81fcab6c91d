"""Expert programs that look at a photo (caption, detection, OCR), and what turns their findings into a prompt."""
