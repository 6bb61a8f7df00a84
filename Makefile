# Everything runs in .venv, made from requirements/lock.txt by whichever target needs it first.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.ONESHELL:
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
BIN := .venv/bin
NOTEBOOK := notebooks/flight_delays.ipynb
STARTED := $(shell date +%s)
# The panel's bundler runs on Node.js 20.19 and 22.12 or newer.
NODE := $(shell node -p 'let [a, b] = process.versions.node.split(".").map(Number); a == 20 && b >= 19 || a == 22 && b >= 12 || a > 22 ? a : ""' 2> /dev/null)
JOBS ?= 2

export PATH := $(CURDIR)/$(BIN):$(PATH)
export PIP_DISABLE_PIP_VERSION_CHECK := 1

PANEL_SOURCES := $(shell find labextension -type f \
	-not -path '*/node_modules/*' -not -path '*/lib/*' -not -path '*/.yarn/*' -not -name '*.tsbuildinfo')

.PHONY: help setup demo test lint unit e2e lab bench soak lock format clean

help: ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

setup: .venv/installed ## make .venv with everything in it (demo, test and the others do it by themselves)

demo: setup ## capture the worked example, run it as a pipeline, test it, and say what came of it
	@echo "set-up took $$(($$(date +%s) - $(STARTED))) s"
	@SECONDS=0
	for command in "capture $(NOTEBOOK)" "run $(NOTEBOOK)" test status; do
	  printf '\n$$ mlops-nb %s\n' "$$command"
	  mlops-nb $$command
	done
	printf '\nwork took %s s\n' "$$SECONDS"

test: lint unit e2e ## lint, every test, and the panel in a real browser

lint: setup
	@ruff check .
	ruff format --check .
	mypy
	lint-imports
	git ls-files -z | xargs -0 codespell
ifneq ($(NODE),)
	cd labextension && jlpm run lint && jlpm run tsc --noEmit
else
	echo "no Node.js: the panel's sources are not checked"
endif

unit: setup
	@pytest -n $(JOBS) --dist loadfile --ignore=tests/e2e --ignore=tests/bench

e2e: setup # a process of its own: Playwright leaves an event loop behind
	@pytest tests/e2e

lab: setup ## open JupyterLab on the notebooks
	@jupyter lab --notebook-dir=. $(if $(filter 0,$(shell id -u)),--allow-root) $(NOTEBOOK)

bench: setup ## measure what capture, imports, the registry and the panel cost
	@pytest tests/bench -o addopts="-ra --strict-markers --strict-config -p no:playwright"

soak: setup ## durability with ten times the kills and a new seed (KILLS=..., SEED=...), lineage with five times the programs (EXAMPLES=...)
	@MLOPS_NB_EXAMPLES=$(or $(EXAMPLES),10000) pytest tests/capture/test_slices_rerun.py tests/capture/test_lineage_cases.py
	MLOPS_NB_KILLS=$(or $(KILLS),2000) MLOPS_NB_SEED=$(or $(SEED),$(STARTED)) pytest -s tests/faults/test_durability.py

lock: .venv/locked ## write requirements/lock.txt anew from pyproject.toml
	@{ echo "# Every package for running, demonstrating, building and testing mlops_nb, with hashes for all platforms; written by: make lock"
	  uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 --fork-strategy fewest --upgrade --quiet \
	    --generate-hashes --no-emit-index-url --no-annotate --no-header; } > requirements/lock.new
	mv requirements/lock.new requirements/lock.txt

format: setup ## format the Python and TypeScript sources
	@ruff check --fix .
	ruff format .
	cd labextension && jlpm run format

clean: ## remove what was built and installed; recorded work (.mlops_nb) stays
	@rm -rf .venv build dist mlops_nb/labextension labextension/{lib,node_modules,.yarn,tsconfig.tsbuildinfo}
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .benchmarks
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# --- set-up: a second call finds the stamps and does nothing ---------------------------------------------------

.venv/locked: requirements/lock.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; name one: make PYTHON=python3.12 ..." >&2; exit 1; }
	echo "making .venv with $$(grep -c '^[a-z]' requirements/lock.txt) locked packages (about a minute)"
	$(PYTHON) -m venv .venv
	python -m pip install -qq --require-hashes -r requirements/lock.txt
	touch $@

.venv/panel: .venv/locked $(PANEL_SOURCES)
	@echo "building the JupyterLab panel"
	cd labextension
	{ jlpm install --immutable && jlpm run build:prod; } > ../.venv/panel.log 2>&1 || { cat ../.venv/panel.log >&2; exit 1; }
	touch ../$@

.venv/installed: .venv/locked $(if $(NODE),.venv/panel) pyproject.toml $(wildcard jupyter-config/*/*)
	@$(if $(NODE),,echo "no Node.js (20.19, or 22.12 and newer): set up without the JupyterLab panel; install it and run make again to get the panel")
	SKIP_JUPYTER_BUILDER=1 python -m pip install -qq --no-deps --no-build-isolation --editable .
	touch $@
