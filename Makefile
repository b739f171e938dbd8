# Every target makes the virtual environment it needs. Nothing is installed outside $(VENV).
#
#   make demo             install, run the quickstart federation, say where to look
#   make test             install, run the tests, those that take longest first
#   make coverage         the fast tests, and which lines they do not run; fails where they run under 95 % (a third slower)
#   make test-thorough    more of the same: hostile folders, workers, federations of processes (a quarter of an hour)
#   make test-deployment  a federation over Flower some of whose parts are killed (half a dozen minutes)
#   make test-fast        the tests that take seconds
#   make check            style, formatting, types and docstrings
#   make docs             the documentation site, into build/site
#   make docs-test        what the documentation shows, run
#   make bench            the committed benchmarks
#   make sbom             what is installed, as a CycloneDX bill of materials: sbom.json
#   make lock             hashes of what constraints.txt pins, into locks/ (needs the network)
#
# `make demo PYTHON=python3.12` picks an interpreter, `VENV=folder` another place for the environment.

PYTHON ?= python3
VENV ?= .venv
OUT ?= runs/quickstart
SITE_VENV ?= .venv-docs
# The extra `docs`, what draws signatures, and what the command needs to say what it takes.
SITE_PACKAGES := mkdocs-material mkdocstrings-python latex2mathml ruff typer rich

BIN := $(VENV)/bin
# A run or the tests start dozens of processes: what they load is compiled once for all, out of the way where the shell wants none.
ifdef PYTHONDONTWRITEBYTECODE
unexport PYTHONDONTWRITEBYTECODE
export PYTHONPYCACHEPREFIX := $(abspath $(VENV))/bytecode
endif
# Most of the twenty thousand files are never loaded: Python compiles those that are when they first are.
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile
# A process a core, each with one thread (tests/conftest.py); `make test TESTS="-n 0"` is one process.
TESTS ?= -n logical --maxprocesses 8 --dist worksteal
PYTEST := $(BIN)/python -m pytest $(TESTS)
READY := $(VENV)/.installed-quickstart
READY_DEV := $(VENV)/.installed-dev

.PHONY: help demo test coverage test-thorough test-deployment test-fast check format docs docs-test bench sbom lock
.DEFAULT_GOAL := help

help:
	@sed -n 's/^#   /  /p' Makefile

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "fedtap needs Python 3.10 or newer; name one, for example: make $(firstword $(MAKECMDGOALS)) PYTHON=python3.12" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)

# Every file by its hash, where locks/ are for this Python and platform; then torch, by version only, since its file differs by
# index; then fedtap itself, built by what the lock brought.
comma := ,
define install
	@if $(BIN)/python tools/lock.py fits; then set -e -x; \
	  $(PIP) --require-hashes --no-deps -r locks/build.txt; \
	  $(PIP) --require-hashes --no-deps --no-build-isolation -r locks/$(1).txt; \
	  $(PIP) -c constraints.txt torch; \
	  $(PIP) --no-deps --no-build-isolation -e .; \
	else \
	  echo "No lock for this Python and platform: installing the versions of constraints.txt, without checking hashes"; \
	  $(PIP) -c constraints.txt -e ".[$(2)]"; \
	fi
endef

# A stamp is older than what it was installed from only when that has changed, so a second `make` installs nothing.
INSTALLED_FROM := pyproject.toml constraints.txt tools/lock.py $(wildcard locks/*.txt)

$(READY): $(INSTALLED_FROM) | $(BIN)/python
	@echo "Installing fedtap and the quickstart's weights and data into $(VENV) (a few minutes the first time)"
	$(call install,quickstart,quickstart)
	@touch $@

$(READY_DEV): $(INSTALLED_FROM) | $(BIN)/python
	@echo "Installing fedtap with what its tests need into $(VENV) (a few minutes the first time)"
	$(call install,dev,quickstart$(comma)dev)
	@touch $(READY) $@

demo: $(READY)
	@$(BIN)/fedtap demo --out $(OUT)

test: $(READY_DEV)
	$(PYTEST) -m "not thorough"

coverage: $(READY_DEV)
	$(PYTEST) -m "not slow" --cov --cov-report=term --cov-fail-under=95

test-thorough: $(READY_DEV)
	$(PYTEST) -m "thorough and not deployment"

test-deployment: $(READY_DEV)
	$(BIN)/python -m pytest -m deployment

test-fast: $(READY_DEV)
	$(PYTEST) -m "not slow"

# The rules D of ruff check the docstrings (NumPy convention). The last file is a user's: public names have types.
check: $(READY_DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict src tests/typed/user.py

format: $(READY_DEV)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY_DEV)
	$(BIN)/python benchmarks/scale.py

sbom: $(READY)
	$(BIN)/python tools/sbom.py > sbom.json.part
	@mv sbom.json.part sbom.json

lock: $(READY_DEV)
	$(BIN)/python -m uv --version > /dev/null 2>&1 || $(PIP) -c constraints.txt uv
	$(BIN)/python tools/lock.py write

# The site has an environment of its own: what draws it is needed by nothing else, and PyTorch is not needed for it.
docs:
	@$(SITE_VENV)/bin/mkdocs --version > /dev/null 2>&1 || { $(PYTHON) -m venv $(SITE_VENV) && \
	  $(SITE_VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt $(SITE_PACKAGES); }
	NO_MKDOCS_2_WARNING=1 PYTHONPATH=src $(SITE_VENV)/bin/mkdocs build --strict --quiet
	@echo "Now open build/site/index.html in a browser; its search needs a server: python3 -m http.server -d build/site"

docs-test: $(READY_DEV)
	$(PYTEST) tests/docs
