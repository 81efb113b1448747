.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PROTO_VENV := .venv-proto

.PHONY: help setup proto proto-check format lint test test-examples demo serve bench-quick bench-memory bench-lag clean

help:  ## Show what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sort | awk -F':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

setup: $(STAMP)  ## Install everything into .venv

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("modelwire needs Python 3.11 or later") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

$(PROTO_VENV)/.installed: proto/requirements.txt
	$(PYTHON) -m venv $(PROTO_VENV)
	$(PROTO_VENV)/bin/python -m pip install --quiet -r proto/requirements.txt
	@touch $@

proto: $(PROTO_VENV)/.installed  ## Generate client/modelwire/api from proto/ (Python 3.11: the tools are pinned)
	PATH="$(CURDIR)/$(PROTO_VENV)/bin:$$PATH" $(PROTO_VENV)/bin/python proto/generate.py client

proto-check: $(PROTO_VENV)/.installed  ## Fail when the generated code is not what proto/ says
	@out=$$(mktemp -d) && trap 'rm -rf "$$out"' EXIT && \
	PATH="$(CURDIR)/$(PROTO_VENV)/bin:$$PATH" $(PROTO_VENV)/bin/python proto/generate.py "$$out" && \
	diff -r --exclude=__pycache__ "$$out/modelwire/api" client/modelwire/api && echo "generated code is up to date"

format: setup  ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: setup  ## Check format, style, types and layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: setup  ## Run the tests
	$(BIN)/python -m pytest

test-examples: setup  ## Run the examples that need heavy packages (Keras)
	$(BIN)/python -m pip install --quiet --editable '.[dev,examples]'
	$(BIN)/python -m pytest -m examples tests/examples

demo: setup  ## Start both services, log, use and link a real model, show its lineage, stop
	$(BIN)/python examples/demo.py

serve: setup  ## Run both services on ./modelwire-data
	$(BIN)/modelwire serve

bench-quick: setup  ## Measure 1 GiB up and down beside dd and a null sink
	$(BIN)/python benchmarks/quick.py

bench-memory: setup  ## Measure peak memory while 3 GiB are logged and used
	$(BIN)/python benchmarks/memory.py

bench-lag: setup  ## Measure how long event loops are blocked during transfers
	$(BIN)/python benchmarks/lag.py

clean:  ## Remove what was made
	rm -rf $(VENV) $(PROTO_VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
