# make demo    set up from nothing and super-resolve the sample scans into demo-out/
# make test    set up from nothing and run the tests, napari's on a virtual display
# make lint    style, format and types          make bench   the measurements in benchmarks/
#
# PYTHON=python3.12       another interpreter, 3.11 or newer
# TORCH_INDEX=URL         another index for torch alone, such as https://download.pytorch.org/whl/cpu
# PIP_ARGS="--no-cache"   more arguments for every pip install
# PYTEST_ARGS="-k geo"    more arguments for pytest

SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip
TORCH := $(shell grep '^torch==' constraints.txt)

# Qt, a virtual display for napari's windows, and dciodvfy, which judges the DICOM that we write.
DEBIAN_PACKAGES := xvfb xauth libegl1 libgl1 libglib2.0-0 libdbus-1-3 libfontconfig1 libxkbcommon0 \
	libxcb-cursor0 libxcb-icccm4 libxcb-image0 libxcb-keysyms1 libxcb-render-util0 libxcb-render0 \
	libxcb-shape0 libxcb-randr0 libxcb-xkb1 libxkbcommon-x11-0 dicom3tools

.PHONY: demo test lint bench setup clean
.DELETE_ON_ERROR:

demo: $(VENV)/.demo
	$(BIN)/sr-imaging demo -o demo-out

test: $(VENV)/.test $(VENV)/.debian
	@if command -v xvfb-run >/dev/null; then \
		export QT_QPA_PLATFORM=xcb; \
		xvfb-run -a -s "-screen 0 1280x1024x24" $(BIN)/python -m pytest $(PYTEST_ARGS); \
	else \
		$(BIN)/python -m pytest $(PYTEST_ARGS); \
	fi

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

# Debian keeps the venv module in a package of its own.
$(VENV)/.made:
	@set -e; \
	for python in $(or $(PYTHON),python3.11 python3.12 python3.13 python3); do \
		if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then found=$$python; break; fi; \
	done; \
	if [ -z "$${found:-}" ]; then \
		echo "sr_imaging needs Python 3.11 or newer, none was found; install it or name it: make PYTHON=/path/to/python" >&2; \
		exit 1; \
	fi; \
	if ! $$found -c 'import ensurepip, venv' 2>/dev/null; then \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
			apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends python3-venv; \
		fi; \
		$$found -c 'import ensurepip, venv' 2>/dev/null || { \
			echo "$$found has no venv module; run: apt-get install python3-venv" >&2; exit 1; }; \
	fi; \
	echo "$$found -m venv $(VENV)"; \
	$$found -m venv $(VENV)
	@touch $@

# Without these packages the tests that need a display or dciodvfy are skipped by name, so this step may fail.
$(VENV)/.debian: Makefile | $(VENV)/.made
	@if command -v dpkg-query >/dev/null; then \
		missing=""; \
		for name in $(DEBIAN_PACKAGES); do \
			dpkg-query -W -f '$${Status}' $$name 2>/dev/null | grep -q 'install ok installed' || missing="$$missing $$name"; \
		done; \
		if [ -z "$$missing" ]; then touch $@; \
		elif [ "$$(id -u)" != 0 ]; then \
			echo "tests that need these Debian packages will be skipped; install them with: sudo apt-get install$$missing" >&2; \
		elif apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends $$missing; then \
			touch $@; \
		else \
			echo "could not install$$missing; the tests that need them will be skipped" >&2; \
		fi; \
	else touch $@; fi
