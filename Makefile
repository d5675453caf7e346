# Every set-up step is inside the targets; `make demo` and `make test` run on a fresh machine with Python 3.11.
SHELL := /bin/bash
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
PY := $(VENV)/bin/python
INSTALLED := $(VENV)/installed
REAL_DATA ?= ../shared/data/daugs_real

# Ray switches token authentication on by itself and phones home unless told not to.
export RAY_AUTH_MODE := disabled
export RAY_USAGE_STATS_ENABLED := 0

.PHONY: demo test format lint types unit real-check transfer-check bench fuzz chaos overload hostile service-bench fifty soak cluster-files mlflow-ui clean help

help:
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/'

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: $(INSTALLED)  ## phantom study -> pool trained with Ray Tune -> HTTP service -> outline, U-map, DICOM, in demo/
	$(PY) -m deploy.demo --out demo

test: $(INSTALLED) lint types unit  ## everything that CI runs

lint: $(INSTALLED)  ## format and lint, check only
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .

types: $(INSTALLED)  ## static types
	$(VENV)/bin/mypy

unit: $(INSTALLED)  ## tests alone
	@command -v dciodvfy >/dev/null && command -v Orthanc >/dev/null || deploy/install-dicom-tools.sh
	$(PY) -m pytest -m 'not alone' --numprocesses 2 --dist loadfile --durations=8
	$(PY) -m pytest -m alone --durations=8

format: $(INSTALLED)  ## rewrite the sources in the project's format
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .

real-check: $(INSTALLED)  ## Dice on the published real slices with the pool that ships
	$(PY) -m deploy.real_check --data $(REAL_DATA) --out real-check

transfer-check: $(INSTALLED)  ## train on phantoms alone for a quarter of an hour, report Dice on real slices
	$(PY) -m deploy.transfer_check --data $(REAL_DATA) --out transfer-check

bench: $(INSTALLED)  ## phantom slices a second, and a sweep against other ways to do it, on this machine
	$(PY) -m pool.phantom.benchmark --threads 2 --slices 300
	$(PY) -m pool bench --threads 2 --out benchmarks
	OMP_NUM_THREADS=1 $(PY) -m pool.dicom.benchmark

fuzz: $(INSTALLED)  ## mutated DICOM files for a quarter of an hour: each is read or refused in words
	$(PY) -m tests.pool.dicom.strangers --n $(or $(N),20000) --seed $(or $(SEED),1)

service-bench: $(INSTALLED)  ## the service: start-up, idle memory, overhead over one process (a quiet machine, 10 minutes)
	$(PY) -m deploy.trials.measure starting
	$(PY) -m deploy.trials.measure overhead

fifty: $(INSTALLED)  ## fifty shards for real on this machine (13 GB)
	$(PY) -m deploy.trials.measure fifty

soak: $(INSTALLED)  ## half an hour of studies, slope of memory
	$(PY) -m deploy.trials.measure soak

cluster-files: $(INSTALLED)  ## manifests, Serve configuration and dashboard anew from the service's settings
	$(PY) -m deploy.generate

chaos: $(INSTALLED)  ## kill parts of the service, a node and everything at random; exit 1 if a study is lost, changed or doubled
	$(PY) -m deploy.trials.chaos

overload: $(INSTALLED)  ## 64 clients at once against room for 8 studies
	$(PY) -m deploy.trials.overload

hostile: $(INSTALLED)  ## requests made up from the OpenAPI document, 2000 damaged uploads
	$(PY) -m deploy.trials.hostile

mlflow-ui: $(INSTALLED)  ## compare the demo's members in the browser
	$(VENV)/bin/mlflow ui --backend-store-uri sqlite:///$(CURDIR)/demo/mlflow.db --host 127.0.0.1 --port 5000

clean:
	rm -rf $(VENV) demo real-check transfer-check
