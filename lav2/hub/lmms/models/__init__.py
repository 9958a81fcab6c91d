"""What lmms-eval reads of a plug-in: the file and the class of each model."""

AVAILABLE_MODELS = {"lav2": "LAV2"}
