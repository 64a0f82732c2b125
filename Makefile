# Everything a checkout of Picket can do. `make help` lists it.

MAKEFLAGS += --warn-undefined-variables --no-builtin-rules --no-print-directory
SHELL := bash
.SHELLFLAGS := -o pipefail -euc
.DEFAULT_GOAL := help

UV ?= uv
ARGS ?=
RUNS ?= 200
MINUTES ?= 10

# The first Python that is new enough, unless told which.
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
ifeq ($(origin PYTHON),undefined)
PYTHON := $(or $(shell for python in python3 python3.13 python3.12 python3.11; do \
  if $$python -c '$(NEW_ENOUGH)' 2>/dev/null; then echo $$python; break; fi; done),python3)
endif

PY := .venv/bin/python
SERVERS := sqlite git time
BENCHES := $(basename $(notdir $(wildcard tests/bench/[a-z]*.py)))

# Every lock names exact versions with their hashes, so nothing is resolved again and no
# build fetches tools of its own. Where packages come from is the machine's pip's business.
INSTALL := install --quiet --disable-pip-version-check --no-deps --require-hashes
BUILD := --no-build-isolation

# What an environment was made from: it is made anew when this changes.
KEY = { pwd; $(PYTHON) -VV; cat $(1); } | git hash-object --stdin

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z%-]+:.*## / { printf "%-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

.PHONY: prerequisites
prerequisites:
	@command -v $(PYTHON) >/dev/null && command -v git >/dev/null || { \
	  echo "git or $(PYTHON) is missing; run: sudo apt install git make python3-venv" >&2; exit 1; }
	@$(PYTHON) -c '$(NEW_ENOUGH)' || { \
	  echo "Picket needs Python 3.11 or newer, and $(PYTHON) is $$($(PYTHON) -V);" \
	    "run: sudo apt install python3.11-venv" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { \
	  echo "$(PYTHON) cannot make virtual environments; run: sudo apt install $(notdir $(PYTHON))-venv" >&2; exit 1; }

.PHONY: setup
setup: prerequisites ## Make .venv/ with picket and its tools, from the locks
	@key=$$($(call KEY,requirements.build.lock requirements.dev.lock pyproject.toml)); \
	if [ "$$key" = "$$(cat .venv/made-from 2>/dev/null)" ]; then exit; fi; \
	echo "setting up .venv (about a minute; seconds when nothing changed)"; \
	$(PYTHON) -m venv .venv; \
	$(PY) -m pip $(INSTALL) -r requirements.build.lock; \
	$(PY) -m pip $(INSTALL) $(BUILD) -r requirements.dev.lock; \
	$(PY) -m pip install --quiet --disable-pip-version-check --no-deps $(BUILD) --editable .; \
	echo "$$key" > .venv/made-from

.PHONY: servers
servers: setup $(SERVERS:%=server-%) ## Make .venv/servers/: the demo's MCP servers, each in a locked environment

.PHONY: $(SERVERS:%=server-%)
$(SERVERS:%=server-%): server-%: setup
	@home=.venv/servers/$*; lock=scenarios/demo/servers/$*.lock; \
	key=$$($(call KEY,"$$lock")); \
	if [ "$$key" = "$$(cat $$home/made-from 2>/dev/null)" ]; then exit; fi; \
	echo "setting up $$home"; \
	$(PYTHON) -m venv --clear --without-pip $$home; \
	$(PY) -m pip --python $$home/bin/python $(INSTALL) --only-binary :all: -r $$lock; \
	echo "$$key" > $$home/made-from

.PHONY: demo
demo: servers ## Run the demo: a real cluster catches a real attack (ARGS=--keep keeps it up)
	@$(PY) -m scenarios.demo $(ARGS)

.PHONY: test
test: servers ## Run the tests but the slow ones (ARGS goes to pytest)
	@$(PY) -m pytest $(ARGS)

.PHONY: test-slow
test-slow: servers ## Run the slow tests (ARGS goes to pytest)
	@$(PY) -m pytest -m slow $(ARGS)

.PHONY: check check-lint check-format check-types check-layers
check: check-lint check-format check-types check-layers ## Lint, formatting, types, and who may import whom

check-lint: setup
	@$(PY) -m ruff check .

check-format: setup
	@$(PY) -m ruff format --check .

check-types: setup
	@$(PY) -m mypy

check-layers: setup
	@.venv/bin/lint-imports

.PHONY: scenarios
scenarios: setup ## Run the library of scenarios, reduced, with 200 seeds (RUNS=200)
	@.venv/bin/picket sim check --runs $(RUNS) --jobs $$(nproc) $(ARGS)

.PHONY: swarm
swarm: setup ## Run random scenarios and shrink what fails (MINUTES=10, ARGS=--seed N)
	@.venv/bin/picket sim swarm --minutes $(MINUTES) $(ARGS)

.PHONY: calibrate
calibrate: setup ## Measure daemons on this machine into calibration.toml, for the simulator (ARGS)
	@$(PY) -m scenarios.calibrate $(ARGS)

.PHONY: study
study: setup ## Write docs/scale.md: 100 to 10 000 simulated nodes (minutes, 2 GB; ARGS)
	@$(PY) -m scenarios.study $(ARGS)

.PHONY: bench
bench: $(BENCHES:%=bench-%) ## Run every measurement of tests/bench (bench-NAME: one of them)

.PHONY: $(BENCHES:%=bench-%)
$(BENCHES:%=bench-%): bench-%: setup ## Run one measurement of tests/bench (ARGS goes to it)
	@$(PY) -m tests.bench.$* $(ARGS)

.PHONY: conformance
conformance: setup ## Run the official MCP suites, direct and through Picket (needs npm; ARGS)
	@$(PY) -m tests.conformance $(ARGS)

.PHONY: liboqs
liboqs: setup ## Build the liboqs library, the faster provider of suite 1
	@bash node/keys/liboqs/build.sh $(ARGS)

.PHONY: bare-root
bare-root: ## As root: prove that a Debian 12 without a compiler can set Picket up
	@bash tests/packaging/bare_root.sh

.PHONY: dist
dist: setup ## Build the wheel and the sdist into dist/
	@$(PY) -c 'from setuptools import build_meta as b; b.build_sdist("dist"); b.build_wheel("dist")' >/dev/null
	@ls dist

# Generating locks is a maintainer's act. It needs uv, keeps what is locked already, and
# ARGS=--upgrade takes the newest.
LOCK = $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes \
  --no-emit-index-url --no-emit-find-links --no-header $(ARGS)

.PHONY: lock
lock: ## Write the locks anew (maintainers; needs uv; ARGS=--upgrade)
	@$(LOCK) --group build --output-file requirements.build.lock
	@$(LOCK) pyproject.toml --group libp2p --output-file requirements.lock
	@$(LOCK) pyproject.toml --group libp2p --group dev --constraint requirements.lock \
	  --constraint requirements.build.lock --output-file requirements.dev.lock
	@for name in $(SERVERS); do \
	  $(LOCK) scenarios/demo/servers/$$name.in --output-file scenarios/demo/servers/$$name.lock; done

.PHONY: clean
clean: ## Remove everything that was made here, .venv included
	@rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
