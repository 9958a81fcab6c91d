#!/bin/sh
# The whole GPU check on a machine with CUDA: golden tests there, then speed and memory of a 7B shape (no download).
# Prints one table and, as the last line, one JSON object.
set -eu
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-.venv/bin/python}
LAV2_TEST_DEVICE=${LAV2_TEST_DEVICE:-cuda} "$PYTHON" -m pytest -q -k "released_codes" tests/test_released.py
"$PYTHON" -m lav2.bench --section gpu "$@"
