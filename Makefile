# make demo    set up from nothing and super-resolve the sample scans into demo-out/
# make test    set up from nothing and run the tests, napari's on a virtual display
# make setup   set up from nothing, and no more
# make lint    style, format and types          make bench   the measurements in benchmarks/
# make clean   remove what they made
#
# PYTHON=python3.12       another interpreter, 3.11 or newer
# TORCH_INDEX=URL         another index for torch alone, such as https://download.pytorch.org/whl/cpu
# PIP_ARGS="--no-cache"   more arguments for every pip install
# PYTEST_ARGS="-k geo"    more arguments for pytest; "-m 'not slow'" for the quick tests, "-n 0" for one process

SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip
TORCH := $(shell grep '^torch==' constraints.txt)

.PHONY: demo test lint bench setup clean
.DELETE_ON_ERROR:

demo: $(VENV)/.demo
	$(BIN)/sr-imaging demo -o demo-out

test: setup
	@scripts/on-display $(BIN)/python -m pytest -n logical --maxprocesses 8 $(PYTEST_ARGS)

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.test
	@for script in $(filter-out benchmarks/common.py,$(wildcard benchmarks/*.py)); do \
		echo "$$script"; $(BIN)/python "$$script" || exit 1; \
	done

setup: $(VENV)/.test $(VENV)/.debian

clean:
	rm -rf $(VENV) build dist demo-out ./*.egg-info

# Each stamp says that its step is done for the present pyproject.toml and constraints.txt.
$(VENV)/.test: $(VENV)/.torch pyproject.toml
	$(PIP) install $(PIP_ARGS) -c constraints.txt -e ".[test]"
	@touch $@ $(VENV)/.demo

$(VENV)/.demo: $(VENV)/.torch pyproject.toml
	$(PIP) install $(PIP_ARGS) -c constraints.txt -e ".[samples,codecs]"
	@touch $@

$(VENV)/.torch: $(VENV)/.made constraints.txt
	$(PIP) install $(PIP_ARGS) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) "$(TORCH)"
	@touch $@

$(VENV)/.made:
	@scripts/make-venv $(VENV) "$(PYTHON)"
	@touch $@

# Without these packages the tests that need a display or dciodvfy are skipped by name, so this step may fail.
$(VENV)/.debian: scripts/debian-packages | $(VENV)/.made
	@if scripts/debian-packages; then touch $@; fi
