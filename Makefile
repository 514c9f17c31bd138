# `make help` lists what there is. Everything runs in .venv, which the first command makes.
SHELL := /bin/bash
PYTHON ?= $(firstword $(shell command -v python3.11 python3.12 python3.13) python3.11)
PORT ?= 3000
UI_PORT ?= 5000
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
export VIRTUAL_ENV := $(CURDIR)/.venv
export DVC_NO_ANALYTICS := 1
export MLFLOW_DISABLE_TELEMETRY := true
export BENTOML_DO_NOT_TRACK := True
export GX_ANALYTICS_ENABLED := false
export NO_ALBUMENTATIONS_UPDATE := 1
export ORT_DISABLE_TELEMETRY := 1

.DEFAULT_GOAL := help
.PHONY: help setup repro data preset serve ui test check train lint format clean lock

help: ## list the commands
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

.venv/.installed: requirements.lock pyproject.toml
	test -d .venv || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==0.13.9
	$(BIN)/uv pip install --quiet --compile-bytecode --require-hashes -r requirements.lock
	$(BIN)/uv pip install --quiet --no-deps --editable .
	@touch $@

setup: .venv/.installed ## make .venv from the lock file

repro: setup ## rebuild all: data, stages, promotion, results
	@dermaflow data ensure
	@dermaflow repro
	@dermaflow models promote
	@dermaflow evaluate
	@echo "Next: make serve (the page, http://127.0.0.1:$(PORT)) | make ui (compare runs, http://127.0.0.1:$(UI_PORT))"

data: setup ## link your ISIC data: make data ISIC=DIR
	@test -n "$(ISIC)" || { echo "usage: make data ISIC=DIR (a folder that holds isic2018/ or 2018/ and so on)"; exit 2; }
	@dermaflow data link "$(ISIC)"

preset: setup ## take a preset: make preset NAME=laptop
	@test -f "presets/$(NAME).yaml" || { echo "usage: make preset NAME=... with one of: $(notdir $(basename $(wildcard presets/*.yaml)))"; exit 2; }
	@for file in presets/*.yaml; do cmp -s params.yaml $$file && kept=1; done; \
	if [ -f params.yaml ] && [ -z "$$kept" ]; then \
	echo "your edited params.yaml is kept:" && cp -v --backup=numbered params.yaml params.yaml.bak || exit 1; fi; \
	cp "presets/$(NAME).yaml" params.yaml && echo "params.yaml is now the preset $(NAME)"

# $(call port_free,PORT): one line and the end where its own server can't listen there.
port_free = python -c 'import socket, sys; port = sys.argv[1]; \
	socket.create_server(("127.0.0.1", int(port))) if port.isdecimal() and int(port) < 65536 else None' "$($(1))" 2>/dev/null \
	|| { echo "port $($(1)) is taken, or not for you: make $@ $(1)=..."; exit 2; }

# xargs stops at the 255 that dvc ends with; the other folds go on.
train: setup ## train folds side by side: make train JOBS=2
	@python -c "from dermaflow import errors; from dermaflow.cli import all_params; errors.tell_errors(all_params.check)"
	@dvc repro certify > /dev/null && dvc repro inputs > /dev/null
	@dvc stage list --name-only | grep '^train@' \
	| xargs -P$(or $(JOBS),1) -n1 sh -c 'dvc --wait-for-lock repro -s "$$0" || exit 1'

# BentoML takes the SIGHUP of a terminal that closes for "load anew", and overhears what comes while it starts: it is
# told to end until it has ended. A signal ends the first wait.
serve: setup ## serve the champion on 127.0.0.1 (PORT=3000)
	@$(call port_free,PORT)
	@PORT=$(PORT) setsid bentoml serve --port $(PORT) & server=$$!; \
	trap "while kill $$server 2>/dev/null; do sleep 1; done" HUP INT TERM; \
	wait $$server; wait $$server

ui: setup ## open the MLflow UI on 127.0.0.1:5000
	@case "$$MLFLOW_TRACKING_URI" in http*) exit;; esac; $(call port_free,UI_PORT)
	@python -c "from dermaflow import errors, tracking; tracking.flush(); \
	errors.tell_errors(lambda: print('The runs:', tracking.runs_page('http://127.0.0.1:$(UI_PORT)')))"
	@case "$$MLFLOW_TRACKING_URI" in http*) exit;; esac; \
	MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false mlflow ui --host 127.0.0.1 --port $(UI_PORT) --workers 1 \
	  --backend-store-uri "$${MLFLOW_TRACKING_URI:-sqlite:///$$(echo "$(CURDIR)/mlflow.db" | sed 's/%/%25/g; s/?/%3F/g')}"

test: setup ## the whole test-suite, the pipeline's tests beside the others
	@log=$$(mktemp); pytest tests/pipeline > $$log 2>&1 & beside=$$!; trap "kill $$beside 2>/dev/null" EXIT; \
	pytest --ignore=tests/pipeline; others=$$?; wait $$beside; pipeline=$$?; \
	cat $$log; rm -f $$log; exit $$((others || pipeline))

check: setup lint ## lint, types, fast tests: the loop of whoever changes the code
	@mypy && pytest -q -m "not slow and not isic"

lint: setup
	@ruff check && ruff format --check && lint-imports

format: setup ## format the code
	@ruff check --fix && ruff format

lock: setup ## write requirements.lock anew from pyproject.toml
	@uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --quiet \
	  --extra serve --extra train --extra dev pyproject.toml --output-file requirements.lock

clean: ## remove what can be made again (not data/, the environment, the count of hold-out openings)
	rm -rf outputs $(filter-out reports/hold_out,$(wildcard reports/*)) .tmp .checkpoints .pytest_cache .mypy_cache .ruff_cache dvc_plots
