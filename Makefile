# Everything a reader needs: `make demo` first, `make check` before a commit. `make` lists the rest.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
BIN := .venv/bin
# Flags: make demo DEMO_FLAGS=--quick;  make test TEST_FLAGS="-m 'not slow' tests/steering"
DEMO_FLAGS ?=
TEST_FLAGS ?=
TEST_WORKERS ?= 2

.PHONY: help venv demo test lint format types check clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' Makefile

venv: .venv/.installed ## install into .venv (Python 3.11 or newer; PYTHON=... chooses one)

.venv/.installed: pyproject.toml constraints.txt
	@PYTHON="$(PYTHON)" bash scripts/make_venv.sh

demo: venv ## steer a small agent while it acts, and write the report
	@$(BIN)/pilotage demo $(DEMO_FLAGS)

# One thread per worker: the workers already fill the cores.
test: venv ## all tests (TEST_FLAGS passes options to pytest)
	@OMP_NUM_THREADS="$${OMP_NUM_THREADS:-1}" $(BIN)/pytest -n $(TEST_WORKERS) $(TEST_FLAGS)

lint: venv ## ruff: rules and format
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

format: venv ## let ruff repair what it can
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

types: venv ## mypy
	@bash scripts/check_types.sh

check: lint types test ## lint, types and tests: what CI runs before the demo

clean: ## remove caches and build products (not .venv, not runs)
	rm -rf build dist .typing .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -path ./.venv -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +
