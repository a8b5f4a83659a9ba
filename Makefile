# Every target makes the virtual environment that it needs.
#   make demo    see a network learn a real sensor stream, in about a minute
#   make test    the test suite        make check   linter and type checker
#   make test-slow   longer sweeps of what the suite samples
# TORCH_INDEX: an index of CPU wheels for torch, where PyPI's (with CUDA) is not wanted.
PYTHON ?= python3
TORCH_INDEX ?=
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
       $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))

.PHONY: install install-dev demo test test-slow check
install: $(VENV)/.installed-learner
install-dev: $(VENV)/.installed-dev

$(VENV)/.installed-%: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) --editable '.[$*]'
	touch $@

demo: install
	$(BIN)/apical demo

test: install-dev
	$(BIN)/python -m pytest

test-slow: install-dev
	$(BIN)/python -m pytest -m slow

check: install-dev
	$(BIN)/ruff check .
	$(BIN)/mypy
