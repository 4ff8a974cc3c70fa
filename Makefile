# Everything a newcomer needs: make demo, make test. Nothing is asked of the machine but Python 3.11 or newer and pip.
#
#   make demo SECONDS=60        let the shop work for longer
#   make test ARGS="-k demo"    arguments for pytest (or, of make bench, for bench)
#   make test WORKERS=0         in one process, one test after the other
#   PYTHON=python3.13 make test another Python; the environment in .venv is made anew for it

VENV := .venv
BIN := $(VENV)/bin
SECONDS := 10
WORKERS := 3
ARGS :=

# An environment made for a Python that was asked for carries its name; without asking, any will do.
ifdef PYTHON
MADE := $(VENV)/.made-by-$(subst /,-,$(PYTHON))
else
MADE := $(BIN)/python
endif

.PHONY: help demo test lint bench docs clean
.DEFAULT_GOAL := help

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/.has-demo ## see it work: a database, a daemon and a receiver of its own, for ten seconds
	@$(BIN)/cdc-hooks demo --seconds $(SECONDS)

test: $(VENV)/.has-test ## run the tests against real PostgreSQL servers; the last lines say what was left out
	@$(BIN)/python -m pytest -n $(WORKERS) $(ARGS)

lint: $(VENV)/.has-test $(VENV)/.has-lint ## formatting, types, and who may import whom
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

bench: $(VENV)/.has-test ## measure throughput, latency and memory; prints a table, writes JSON to bench/results
	@$(BIN)/python -m bench $(ARGS)

docs: $(VENV)/.has-test ## renew the pages that are made from the code
	@$(BIN)/python -m cdc_hooks.config.reference > docs/configuration.md
	@$(BIN)/python docs/installed_sql.py

clean: ## remove the environment, caches and built packages
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The environment, and what is installed in it: done again only when pyproject.toml or the Python changes.
$(VENV)/.has-%: pyproject.toml $(MADE)
	@echo "Installing cdc-hooks[$*] into $(VENV) (at first this takes a minute or two) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$*]'
	@touch $@

$(MADE):
	@for python in $(or $(PYTHON),python3 python3.13 python3.12 python3.11 python3.14 python); do \
		if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
			echo "Making $(VENV) with $$python ..." && $$python -m venv --clear $(VENV) && touch $@; exit; \
		fi; \
	done; \
	echo "cdc-hooks needs Python 3.11 or newer; $(or $(PYTHON),python3) is $$($(or $(PYTHON),python3) --version 2>&1 | head -n 1)." >&2; \
	echo "Install one and run make again, or say which: PYTHON=/path/to/python3.13 make $(MAKECMDGOALS)" >&2; \
	exit 1
