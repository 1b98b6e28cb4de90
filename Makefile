# make demo | make test | make check | make setup: each does its own set-up in .venv and says what it is doing.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint .ci/constraints.txt

.PHONY: demo test check setup format clean

demo: $(VENV)/.core  ## phantoms -> index -> queries -> an HTML sheet; no torch
	$(BIN)/m3search demo --out demo

test: $(VENV)/.full  ## the whole test suite
	$(BIN)/python -m pytest -n 2 --dist loadgroup -q

check: $(VENV)/.full  ## format, lint, types, layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

setup: $(VENV)/.full  ## everything the project can use on this machine

format: $(VENV)/.full
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) build dist *.egg-info demo

# Debian splits ensurepip off into python3-venv: where it is missing, the system's pip fills the environment.
$(VENV)/bin/python:
	@echo "setting up $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV) 2>/dev/null || { rm -rf $(VENV); $(PYTHON) -m venv --without-pip $(VENV) \
	  && $(PYTHON) -m pip --python $(VENV)/bin/python install --quiet pip; }

$(VENV)/.core: pyproject.toml .ci/constraints.txt | $(VENV)/bin/python
	@echo "installing m3search and what it needs to index and search (no torch); a few minutes the first time"
	@$(PIP) --editable '.[cpu]'
	@touch $@

$(VENV)/.full: $(VENV)/.core
	@echo "installing what training and testing need (torch is large)"
	@$(PIP) --editable '.[cpu,serve,mcp,train,warm-starts,dev]'
	@touch $@
