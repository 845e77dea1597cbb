# make demo: see it work; make test: pass the tests; make check: all that .ci/run does but the wheel.
VENV := .venv
PYTHON ?= python3
READY := $(VENV)/.ready
SERVERS := tests/node/node_modules/.ready
WORKERS ?= auto

.PHONY: setup demo test torture lint types contracts check bench wheel picture lock clean

setup: $(READY) $(SERVERS)

# A server of GitHub's interface and GitHub's own description of it, for tests that are left out where node is missing.
$(SERVERS): tests/node/package-lock.json
	@if command -v npm >/dev/null 2>&1; then npm --prefix tests/node ci --silent --ignore-scripts; else mkdir -p $(@D); fi
	@touch $@

# uv where it is there, pip otherwise; both from the same locked list, every file by its hash.
$(READY): requirements/dev.txt pyproject.toml
	@if command -v uv >/dev/null 2>&1; then \
		uv venv --quiet --allow-existing --python $(PYTHON) $(VENV) && \
		uv pip install --quiet --python $(VENV)/bin/python --require-hashes -r requirements/dev.txt && \
		uv pip install --quiet --python $(VENV)/bin/python --no-deps --no-build-isolation -e . ; \
	else \
		$(PYTHON) -m venv $(VENV) && \
		$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt && \
		$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e . ; \
	fi
	@touch $@

demo: setup
	@$(VENV)/bin/rollcage demo

# What fails is run once more by itself: two cores shared by hundreds of processes make some waits too short. It is
# named twice then, as a failure and as a pass: mend it, since a test that wavers says too little.
test: setup
	$(VENV)/bin/python -m pytest -n $(WORKERS) --dist worksteal || \
		$(VENV)/bin/python -m pytest -n 0 --last-failed --last-failed-no-failures none

# All tasks killed at every place that there is, not only at a spread of them, locks under random work and faults, and
# many generated histories. With some names it takes only these tasks, --part 1/4 a quarter of their places: python -m
# tests.torture --help; python -m tests.torture_locks --help; python -m tests.torture_issues --help.
torture: setup
	$(VENV)/bin/python -m tests.torture
	$(VENV)/bin/python -m tests.torture_locks
	$(VENV)/bin/python -m tests.torture_issues
	TORTURE_EXAMPLES=200 $(VENV)/bin/python -m pytest -n $(WORKERS) tests/gitrepo/test_publish_crash.py \
		tests/gitrepo/test_publish_properties.py tests/execute/test_properties.py

lint: setup
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

types: setup
	$(VENV)/bin/mypy

contracts: setup
	$(VENV)/bin/lint-imports

check: lint types contracts test

bench: setup
	$(VENV)/bin/python -m tests.bench

# The wheel, installed into an empty environment and run there.
wheel: setup
	PYTHON=$(VENV)/bin/python sh tests/wheel.sh

# The console on the sandbox, as the README shows it.
picture: setup
	$(VENV)/bin/python -m tests.picture docs/console.svg

lock: setup
	$(VENV)/bin/python -m pip install --quiet uv
	$(VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
		--no-emit-index-url --no-emit-find-links --all-extras pyproject.toml -o requirements/dev.txt

clean:
	rm -rf build dist *.egg-info .mypy_cache .ruff_cache .hypothesis
