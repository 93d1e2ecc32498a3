# make run    sets everything up and starts the registry on 127.0.0.1:5000, storing below ./registry-data
# make test   sets everything up and passes the tests
# make trial TRIAL=docker_registry.test.test_names    passes a part of them
# make bench  measures this registry, beside Debian's docker-registry where that is installed

SHELL       := bash
.SHELLFLAGS := -o pipefail -c

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/ready

.PHONY: run test lint types trial bench clean together clients rest

run: $(READY)
	$(BIN)/twistd --nodaemon --pidfile= docker-registry

# Tests wait more than they compute: two parts of them run at a time, and what reads the code beside them.
test: lint
	@$(MAKE) --no-print-directory --jobs=3 --keep-going together

together: types clients rest

lint: $(READY)
	$(BIN)/ruff check .

types: $(READY)
	$(BIN)/mypy

TRIAL    ?= docker_registry
RUN_TRIAL = $(BIN)/python -m twisted.trial

trial: $(READY)
	$(RUN_TRIAL) --temp-directory=_trial_temp $(TRIAL)

# These go with the clients, so that both parts take as long.
SWIFT := $(wildcard docker_registry/test/test_*swift*.py)

clients: $(READY)
	@$(RUN_TRIAL) --temp-directory=_trial_temp_clients docker_registry.test.clients $(SWIFT) 2>&1 \
		| sed --unbuffered 's/^/clients: /'

rest: $(READY)
	@$(RUN_TRIAL) --temp-directory=_trial_temp_rest \
		$(filter-out $(SWIFT),$(wildcard docker_registry/test/test_*.py)) 2>&1 | sed --unbuffered 's/^/rest: /'

bench: $(READY)
	$(BIN)/python -m bench

$(READY): pyproject.toml setup.py constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed: make PYTHON=python3.11" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $(READY)

clean:
	rm -rf $(VENV) _trial_temp* build *.egg-info
