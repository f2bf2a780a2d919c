# Two commands: `make serve` and `make test`. Both make .venv first, with what this machine needs.
SHELL := /bin/sh
PYTHON ?= python3
PORT ?= $(or $(OPENCHARACTER_PORT),8000)
PIP_CPU_INDEX ?= https://download.pytorch.org/whl/cpu

KIND := $(shell nvidia-smi >/dev/null 2>&1 && echo cuda || echo cpu)
OTHER_KIND := $(if $(filter cpu,$(KIND)),cuda,cpu)
PIP := .venv/bin/python -m pip install --quiet --disable-pip-version-check

.PHONY: serve test lint types bench tiny plots clean gpu-came-or-went
.DEFAULT_GOAL := help

help: ## Say what there is to make.
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 10

serve: .venv/.serve-$(KIND) ## Serve on 127.0.0.1:8000 (PORT=…).
	@OPENCHARACTER_PORT=$(PORT) exec .venv/bin/python -m app serve

test: .venv/.dev-$(KIND) ## Run every test, on the real engine.
	@.venv/bin/python -m pytest

lint: .venv/.dev-$(KIND) ## Check style and the rules of the house.
	@.venv/bin/ruff check . && .venv/bin/ruff format --check . && .venv/bin/shellcheck requirements/lock.sh .ci/run models/recipes/*.sh

types: .venv/.dev-$(KIND) ## Check types.
	@.venv/bin/mypy

bench: .venv/.dev-$(KIND) ## Measure the server beside vLLM's own, and a long chat beside others' layouts.
	@.venv/bin/python -m loadtest.compare
	@.venv/bin/python -m loadtest.window

tiny: .venv/.dev-$(KIND) ## Make the embedded model anew, from nothing (hours), and ship it if it is as good.
	@PATH="$(CURDIR)/.venv/bin:$$PATH" sh models/recipes/tiny.sh

clean: ## Remove the environment and what was built; sessions and characters in .data stay.
	rm -rf .venv build .mypy_cache .pytest_cache .ruff_cache

# Two builds of torch in one environment break each other: where a GPU came or went, .venv is made anew.
.venv/bin/python: $(if $(wildcard .venv/.*-$(OTHER_KIND)),gpu-came-or-went)
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
		|| { echo "Python 3.11, 3.12 or 3.13 is needed; say which with PYTHON=…"; exit 1; }
	@echo "making .venv"
	@rm -rf .venv
	@$(PYTHON) -m venv .venv || { rm -rf .venv; exit 1; }

gpu-came-or-went:
	@echo ".venv was made for $(OTHER_KIND), this machine is for $(KIND)"

# The CPU build of torch: the machine's own where pip finds one, else PyTorch's. Never the CUDA build.
.venv/.torch-cpu: .venv/bin/python
	@echo "installing torch for the CPU"
	@$(PIP) --no-deps 'torch==2.13.0+cpu' 2>/dev/null \
		|| $(PIP) --no-deps --index-url $(PIP_CPU_INDEX) 'torch==2.13.0+cpu'
	@touch $@

.venv/.torch-cuda: .venv/bin/python
	@touch $@

.venv/.serve-%: requirements/%.txt .venv/.torch-%
	@echo "installing the server ($*, some gigabytes: minutes)"
	@$(PIP) --no-deps --require-hashes -r $<
	@touch $@

.venv/.dev-%: requirements/%-dev.txt .venv/.serve-%
	@echo "installing what the tests need"
	@$(PIP) --no-deps --require-hashes -r $<
	@touch $@

.SECONDARY:
