# Everything a contributor or a newcomer does, each target working from nothing: whatever is missing is set up
# first, whatever is up to date is left alone. CI runs `check` and `test` (see .ci/run).
#
#   make demo                        the whole thing, on a fresh machine
#   make test ARGS="-k scheduler"    ARGS is handed to the command behind the target
#   make setup PYTHON=python3.12     another interpreter for the environment

PYTHON ?= python3
ARGS ?=

BIN := .venv/bin
READY := .venv/.ready

.DEFAULT_GOAL := help
.PHONY: help setup demo serve test check format test-slow bench clean
.DELETE_ON_ERROR:

help: ## show this page
	@echo "ragtune: prompting, retrieval and fine-tuning as a per-request choice over one base model"
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## create or update .venv (the other targets do it themselves)
	@echo ".venv is up to date."

# The script writes $(READY) last; until then the environment counts as half-finished and is made anew.
$(READY): pyproject.toml constraints.txt scripts/setup_environment.py
	@command -v $(PYTHON) >/dev/null || { echo "There is no '$(PYTHON)' here. Install Python 3.11 or newer, or name one: make $(MAKECMDGOALS) PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "ragtune needs Python 3.11 or newer, and '$(PYTHON)' is $$($(PYTHON) -V 2>&1). Name a newer one: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) scripts/setup_environment.py $(READY)

demo: $(READY) ## index, train, serve and compare every mode on an invented company
	@$(BIN)/ragtune demo $(ARGS)

serve: $(READY) ## answer HTTP queries on 127.0.0.1:8000
	@$(BIN)/ragtune serve $(ARGS)

test: $(READY) ## the fast tests
	@$(BIN)/python -m pytest -m "not slow" $(ARGS)

check: $(READY) ## style, types and the direction of imports, in seconds
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

format: $(READY) ## put the source into its form
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

test-slow: $(READY) ## the tests on real small weights, in minutes
	@$(BIN)/python -m pytest -m slow --timeout 1800 $(ARGS)

bench: $(READY) ## throughput of mixed modes beside PEFT, measured in the same run
	@$(BIN)/python benchmarks/mixed_modes.py $(ARGS)

clean: ## remove the environment and the caches, keep the demo's results
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist *.egg-info
