# The same commands by hand, in pre-commit and in CI. Each does all it needs on a fresh machine.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.NOTPARALLEL:
MAKEFLAGS += --no-print-directory

BIN := .venv/bin
COVERAGE := --cov --cov-report=term:skip-covered

.PHONY: help setup engine browser compose check format unit integration test test-all demo bench cold clean

help:  ## what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## */\t/' | expand -t 14

setup: .venv/.stamp  ## .venv with clusterkit and its tools (nothing to do when nothing changed)

.venv/.stamp: pyproject.toml constraints.txt scripts/setup
	@scripts/setup
	@touch $@

engine:  ## a container engine that answers; installed and started where that is possible
	@scripts/ensure-engine

browser:  ## a Chromium for the tests of the report; installed where apt-get is there
	@scripts/ensure-browser

compose:  ## docker-compose and ssh for the tests of render; installed where apt-get is there
	@scripts/ensure-compose

check: setup  ## format, lint, types, layers, roles
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/yamllint --strict .
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/ansible-lint --offline -q playbooks

format: setup  ## write the format, mend what ruff can
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

unit: setup  ## quick tests: no network, no engine
	@$(BIN)/pytest tests/unit -m "not long"

integration: setup engine browser compose  ## tests with real nodes in containers
	@$(BIN)/pytest tests/integration -m "not long" --durations=20

# One after another: an engine has one agent, and tests of faults look at the whole host, which other tests change.
test: setup engine browser compose check  ## everything but the long ones; the last line is pytest's summary
	@$(BIN)/pytest tests -m "not long" --durations=20 $(COVERAGE)

test-all: setup engine browser compose check  ## the long ones too
	@$(BIN)/pytest tests --durations=20 $(COVERAGE)

demo: setup engine  ## a cluster comes up, fails over and goes away, in front of you
	@$(BIN)/python scripts/demo.py

bench: setup engine  ## the numbers of docs/benchmarks.md, measured here
	@$(BIN)/python -m benchmarks

cold:  ## remove the images that clusterkit made
	@scripts/cold

clean:  ## remove what was built here; clusters and images stay
	rm -rf .venv dist build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .coverage* .ansible
