# OpenMP threads wait by spinning for a moment, then sleep (benchmarks/threads.py); your own values win.
OMP_WAIT_POLICY ?= PASSIVE
GOMP_SPINCOUNT ?= 1000
export OMP_WAIT_POLICY GOMP_SPINCOUNT

BIN := .venv/bin
STAMP := .venv/.installed
SHELL_SCRIPTS = .ci/run $(shell git ls-files '*.sh')

.PHONY: setup quickstart quickstart-lm lock test test-slow test-shared bench bench-quick lint format

setup: $(STAMP)

# A name on PATH may be a pyenv shim for a Python that is not active, so each candidate is tried.
$(STAMP): requirements.txt requirements.lock setup.py
	@rm -f $@
	@python=; for candidate in python3.11 python3.12; do \
	    if $$candidate -c 'import venv' 2>/dev/null; then python=$$candidate; break; fi; \
	done; \
	if [ -z "$$python" ]; then \
	    echo "mega_fairseq needs python3.11 or python3.12 with venv on PATH, and neither of them runs." >&2; exit 1; \
	fi; \
	$(BIN)/python -c 'import sys; sys.exit(sys.version_info[:2] not in {(3, 11), (3, 12)})' 2>/dev/null \
	    || $$python -m venv --clear .venv
	$(BIN)/pip install --quiet --disable-pip-version-check "$$(grep '^torch==' requirements.txt)"
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps -e .
	@touch $@

# From whatever index pip is set up with; what is left out stands in pyproject.toml.
lock: setup
	CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/pip-compile $(ARGS) --output-file requirements.lock requirements.txt

quickstart: setup
	$(BIN)/python examples/quickstart/run.py $(ARGS)

quickstart-lm: setup
	$(BIN)/python examples/quickstart/lm.py $(ARGS)

# One thread a worker: two workers with two threads each would fight over the cores.
test test-slow test-shared: export OMP_NUM_THREADS ?= 1
PYTEST = $(BIN)/pytest -n 2 --dist loadfile

test: setup
	$(PYTEST) -m "not slow" $(ARGS)

test-slow: setup
	$(PYTEST) -m slow $(ARGS)

# What computes with the data that MEGA_SHARED names (tests/outside.py).
test-shared: setup
	$(PYTEST) $(shell grep -lE 'from (goldens|outside) import' -r tests --include='test_*.py') $(ARGS)

# All speed targets against their baselines; leave the machine alone meanwhile.
bench: setup
	$(BIN)/python benchmarks/bench.py $(ARGS)
	$(BIN)/python benchmarks/lengths.py

bench-quick: setup
	$(BIN)/python benchmarks/bench.py --quick $(ARGS)

lint: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/shellcheck $(SHELL_SCRIPTS)

format: setup
	$(BIN)/ruff format
	$(BIN)/ruff check --fix
