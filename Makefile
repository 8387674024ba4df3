# `make run` and `make test` need nothing but Python 3.11 or 3.12, git and make. `make help` lists all.
SHELL := /bin/bash
VENV := .venv
PYTHON := $(shell command -v python3.11 || command -v python3.12 || command -v python3)
STAMP := $(VENV)/.installed

# Before Python starts: OpenMP threads that spin while they wait slow everything else down 70 times.
export OMP_NUM_THREADS ?= 1
export OMP_WAIT_POLICY ?= PASSIVE
export TOKENIZERS_PARALLELISM ?= false
# No telemetry.
export DO_NOT_TRACK ?= true
export DVC_NO_ANALYTICS ?= true
export HF_HUB_DISABLE_TELEMETRY ?= 1
export MLFLOW_DISABLE_TELEMETRY ?= true
export PREFECT_SERVER_ANALYTICS_ENABLED ?= false

export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

.DEFAULT_GOAL := help
.PHONY: help setup run test ui services faults lint bench

help: ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 8

setup: $(STAMP) ## create .venv and install, unless that is done

# Pip takes the builds that constraints.txt pins: of torch the one that its index offers for this machine.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' \
		|| { echo "error: $(PYTHON) is no Python 3.11 or 3.12: install one of them" >&2; exit 2; }
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV), about five minutes ..."
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

run: setup ## retrain, evaluate and register; ARGS="--set train.epochs=3" changes parameters; TRACKING=services uses those
ifeq ($(TRACKING),services)
	@llarp services status >/dev/null && set -a && . .llarp/services/env && set +a && llarp run $(ARGS)
else
	@llarp run $(ARGS)
endif

test: setup ## run the tests in two processes; ARGS="-k name" chooses
	@python -m pytest --numprocesses 2 --dist loadfile $(ARGS)

ui: setup ## serve Prefect's and MLflow's web UIs on this machine
	@llarp ui $(ARGS)

services: setup ## start PostgreSQL, MLflow and Prefect on this machine; ARGS="--detach" returns, docs/services.md
	@llarp services start $(ARGS)

faults: setup ## kill, stop and take away parts of real runs, and print what came of it; 50 minutes
	@python tests/pipelines/faults.py $(ARGS)

lint: setup ## ruff, mypy and the import contracts
	ruff check .
	ruff format --check .
	mypy
	lint-imports

bench: setup ## run the benchmarks
	@shopt -s nullglob; for file in benchmarks/*.py; do echo "== $$file"; python "$$file" || exit 1; done
