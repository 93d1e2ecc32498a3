# make run    sets everything up and starts the registry on 127.0.0.1:5000, storing below ./registry-data
# make test   sets everything up and passes the tests
# make bench  measures this registry, beside Debian's docker-registry where that is installed

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/ready

.PHONY: run test lint types trial bench clean

run: $(READY)
	$(BIN)/twistd --nodaemon --pidfile= docker-registry

test: lint types trial

lint: $(READY)
	$(BIN)/ruff check .

types: $(READY)
	$(BIN)/mypy

# TRIAL=docker_registry.test.test_names runs a part
TRIAL ?= docker_registry
trial: $(READY)
	$(BIN)/python -m twisted.trial --temp-directory=_trial_temp $(TRIAL)

bench: $(READY)
	$(BIN)/python -m bench

$(READY): pyproject.toml setup.py constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed: make PYTHON=python3.11" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $(READY)

clean:
	rm -rf $(VENV) _trial_temp build *.egg-info
