# Everything needs only python3 (3.11 or newer) and make; the first target that needs it makes .venv.

PYTHON ?= python3
PY := .venv/bin/python
UV := .venv/bin/uv
READY := .venv/.ready
INSTALLER := .venv/.installer
# More than two cores need: many tests wait for real processes.
WORKERS ?= 3
PYTEST_ARGS ?=

export UV_PYTHON_DOWNLOADS := never

.DEFAULT_GOAL := help
.PHONY: help setup demo test check fix bench soak pins clean

help: $(READY)  ## this list (and the set-up, when it is missing)
	@echo "Mainspring is set up in .venv. What next:"
	@sed -n 's/^\([a-z]*\):.*##  *\(.*\)/  make \1|\2/p' Makefile | while IFS='|' read -r name what; do \
	  printf '%-14s %s\n' "$$name" "$$what"; done

setup: $(READY)  ## make .venv with pinned, hash-checked packages

demo: $(READY)  ## durable jobs survive a kill -9, before your eyes
	@$(PY) demo/run.py

test: $(READY)  ## the test suite and the doctests (WORKERS=3, PYTEST_ARGS="-k name")
	$(PY) -m pytest -n $(WORKERS) --dist worksteal $(PYTEST_ARGS)

check: $(READY)  ## linter, format, types (mypy, pyright), layers, sizes and public surface
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	.venv/bin/basedpyright --level error
	.venv/bin/lint-imports --no-logo
	$(PY) -m pytest -q -p no:cacheprovider tests/house

fix: $(READY)  ## sort imports, apply safe fixes, format
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

bench: $(READY)  ## measure (ROWS="drain.sqlite latency --quick" for a selection)
	$(PY) -m bench --save $(ROWS)

soak: $(READY)  ## the long tests
	$(PY) -m pytest -m soak --timeout 0 -s $(PYTEST_ARGS)

pins: $(INSTALLER)  ## renew requirements/*.txt from pyproject.toml (UPGRADE=--upgrade for newer versions)
	$(UV) pip compile -q pyproject.toml --extra dev --universal --python-version 3.11 $(UPGRADE) --generate-hashes \
	  --no-emit-index-url --no-emit-find-links --no-header --no-annotate -o requirements/dev.txt
	grep '^uv==' requirements/dev.txt | cut -d' ' -f1 | $(UV) pip compile -q - --universal --python-version 3.11 \
	  --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --no-annotate -o requirements/uv.txt

clean:  ## remove .venv and every cache
	rm -rf .venv .nox .cache .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache .coverage*

# --- set-up ---------------------------------------------------------------------------------------

$(READY): $(INSTALLER) requirements/dev.txt pyproject.toml
	@echo "set-up 3/3: pinned packages"
	@VIRTUAL_ENV=.venv $(UV) pip install --quiet --require-hashes -r requirements/dev.txt
	@VIRTUAL_ENV=.venv $(UV) pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(INSTALLER): requirements/uv.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Mainspring needs Python 3.11 or newer; name one with: make PYTHON=/path/to/python3"; exit 1; }
	@test -x $(PY) || { echo "set-up 1/3: virtual environment in .venv"; $(PYTHON) -m venv .venv; } || { \
	  rm -rf .venv; echo "python3 cannot make a virtual environment (on Debian: apt-get install python3-venv)"; exit 1; }
	@echo "set-up 2/3: installer"
	@$(PY) -m pip install -qq --disable-pip-version-check --require-hashes -r requirements/uv.txt
	@touch $@
