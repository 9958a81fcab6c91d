#!/bin/sh
# The whole GPU check on a machine with CUDA: golden tests and the fused steps there, then speed and memory of a 7B shape (no download).
# Prints one table and, as the last line, one JSON object; exits with 1 if a test or the benchmark failed.
# PYTHON: with requirements.txt's torch, transformers, timm, open_clip_torch, sentencepiece and pytest.
# LAV2_SHARED: the folder that holds golden/; without those numbers a run would prove nothing, so it is refused.
set -eu
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-.venv/bin/python}
LAV2_SHARED=${LAV2_SHARED:-../shared}
if [ ! -d "$LAV2_SHARED/golden" ]; then
  echo "There are no golden numbers in $LAV2_SHARED/golden: copy them there, or set LAV2_SHARED." >&2
  exit 1
fi
export LAV2_SHARED LAV2_TEST_DEVICE="${LAV2_TEST_DEVICE:-cuda}"
failed=0
"$PYTHON" -m pytest -q -m device tests/test_released.py tests/test_fused_step.py || failed=1
"$PYTHON" -m lav2.bench --section gpu "$@" || failed=1
exit $failed
