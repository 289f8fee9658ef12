# Sets itself up: a Python of 3.11 or newer and git are all it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready
# Where images set it, each of a hundred processes of the tests would compile PyTorch's modules anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup check lint types test fuzz demo bench chaos soak audit clean
.DEFAULT_GOAL := help

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

setup: $(READY) ## the environment in .venv

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraints constraints.txt --editable '.[demo,rubin,dev]'
	touch $@

lint: $(READY) ## style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY) ## mypy --strict
	$(BIN)/mypy

check: lint types ## everything but the tests

test: check ## every check
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

fuzz: $(READY) ## a million broken inputs for the decoder
	$(BIN)/python -m tests.fuzz

demo: $(READY) ## a simulated night through the whole service
	$(BIN)/python -m service demo

bench: $(READY) ## every benchmark, as a table and bench.json; on an idle machine
	$(BIN)/python -m tests.benchmarks

chaos: $(READY) ## the kill test in full: 50,000 alerts, 25 faults (python -m tests.chaos --help)
	$(BIN)/python -m tests.chaos

soak: $(READY) ## ten minutes at 80 % of the maximum rate (python -m tests.chaos.soak --help)
	$(BIN)/python -m tests.chaos.soak

audit: $(READY) ## known vulnerabilities of the pinned dependencies; asks PyPI, and fails where it does not answer
	$(BIN)/pip-audit --strict --disable-pip --no-deps --requirement constraints.txt

clean: ## remove the environment and every cache
	rm -rf $(VENV) build *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
