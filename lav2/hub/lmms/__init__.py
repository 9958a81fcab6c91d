"""The assistant as a model of lmms-eval, which others measure models of photos with: `LMMS_EVAL_PLUGINS=lav2.hub.lmms`
(docs/spaces.md). lmms-eval is not among the requirements; nothing here is imported without it."""
