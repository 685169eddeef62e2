# What people type. Each target sets up what it needs and reuses what is there.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help setup lint format test test-otlp demo bench requirements clean

help:  ## what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

setup: $(VENV)/.ready  ## the virtual environment with everything in it

$(VENV)/.ready: requirements-dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "klag-trio needs Python 3.11 or newer; $(PYTHON) is older (make PYTHON=...)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --require-hashes -r requirements-dev.txt
	$(BIN)/pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

lint: setup  ## ruff, mypy --strict, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup  ## let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test: setup  ## all tests, on a real broker
	@scripts/install-missing java:openjdk-17-jre-headless mvn:maven promtool:prometheus
	@$(BIN)/python test-stack/kafka fetch
	$(BIN)/pytest --ignore=tests/otlp $(ARGS)

test-otlp: setup  ## OTLP export to a real collector, which Go builds the first time
	@scripts/install-missing java:openjdk-17-jre-headless mvn:maven
	@$(BIN)/python test-stack/kafka fetch
	@$(BIN)/python test-stack/collector
	$(BIN)/pytest tests/otlp $(ARGS)

demo: setup  ## a broker, groups that lag in every way, and klag-trio; Ctrl-C ends it
	@scripts/install-missing java:openjdk-17-jre-headless mvn:maven
	@$(BIN)/python test-stack/demo.py $(ARGS)

bench: .cache/bench/.ready  ## workload L beside the peers on the PATH, klag-trio installed as users install it
	@scripts/install-missing java:openjdk-17-jre-headless mvn:maven
	.cache/bench/bin/pip install --quiet --no-deps --force-reinstall .
	.cache/bench/bin/python -m benchmarks latency --peers-on-path $(ARGS)

.cache/bench/.ready: requirements.txt pyproject.toml
	$(PYTHON) -m venv .cache/bench
	.cache/bench/bin/pip install --quiet --require-hashes -r requirements.txt
	.cache/bench/bin/pip install --quiet matplotlib
	@touch $@

requirements:  ## pin the newest versions, with hashes (needs uv)
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --upgrade --custom-compile-command 'make requirements' pyproject.toml -o requirements.txt
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --custom-compile-command 'make requirements' -c requirements.txt --group dev pyproject.toml -o requirements-dev.txt

clean:  ## remove what the targets made
	rm -rf $(VENV) .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
