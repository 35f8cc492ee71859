# The same names everywhere: setup check fix test demo run build bench.
SHELL := /bin/bash
PY := .venv/bin/python

.PHONY: setup setup-opa check fix test demo run build bench lock openapi

setup:  ## everything demo, test and run need
	@bash tools/setup.sh

setup-opa: setup
	@bash tools/setup-opa.sh

demo: setup  ## the whole flow, end to end
	@$(PY) -m demo

run: setup  ## service + broker, seeded, until Ctrl-C
	@$(PY) -m demo serve

test: setup setup-opa
	@$(PY) -m pytest

check: setup setup-opa
	@$(PY) -m ruff format --check .
	@$(PY) -m ruff check .
	@$(PY) -m mypy
	@.venv/bin/lint-imports
	@bash tools/check-policies.sh
	@$(PY) tools/check_generated.py

fix: setup
	@$(PY) -m ruff check --fix .
	@$(PY) -m ruff format .

build: setup
	@$(PY) -m uv build --wheel --out-dir dist .
	@$(PY) -m uv build --wheel --out-dir dist sdk

bench: setup
	@$(PY) -m tests.bench

lock:  ## renew requirements.lock (names no download host)
	@$(PY) -m uv pip compile --universal --generate-hashes --no-header --no-emit-index-url --no-emit-find-links \
	  --python-version 3.11 --extra demo --extra dev pyproject.toml sdk/pyproject.toml -o requirements.lock

openapi: setup
	@$(PY) -m dataspace.cli openapi > docs/openapi.json
