"""Where lmms-eval looks for a plug-in's tasks; this one has none of its own."""
