# `make demo` and `make test` need nothing but Python 3.11 or newer: both install into .venv first.

PYTHON ?= python3
BIN := .venv/bin
DEMO := data/demo

.PHONY: demo test test-all lint format install clean

demo: install
	$(BIN)/python -m pipelines.synthesize --layout dexycb --out $(DEMO)/dexycb --cameras 3 --frames 48
	$(BIN)/python -m pipelines.build_shards --dataset dexycb --root $(DEMO)/dexycb --out shards/demo
	$(BIN)/python -m pipelines.verify shards/demo
	$(BIN)/python -m pipelines.inspect shards/demo --sheet results/demo/shards.png

test: install
	$(BIN)/python -m pytest

test-all: install
	$(BIN)/python -m pytest -m ""

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

install: .venv/installed

# uv where there is one (seconds), pip otherwise (a minute or two)
.venv/installed: pyproject.toml constraints.txt
	@if command -v uv >/dev/null; then \
		uv venv --quiet --allow-existing --python $(PYTHON) .venv && \
		uv pip install --quiet --python $(BIN)/python --constraint constraints.txt --editable '.[dev]'; \
	else \
		$(PYTHON) -m venv .venv && \
		$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'; \
	fi
	@touch $@

clean:
	rm -rf .venv $(DEMO) shards/demo results
