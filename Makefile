# Developer commands. Each target creates the virtual environment first, once.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := /bin/bash

PYTHON ?= python3
COMPOSE ?= docker compose
BIN := .venv/bin
INSTALLED := .venv/.installed
VIRTUALENV_VERSION := 21.15.8
UV_VERSION := 0.13.9
export PYTHONPATH := $(CURDIR):$(CURDIR)/protos/gen

.PHONY: help up promote demo job admin psql test smoke screenshots chaos mutants previous ha hostile fuzz models postgres containers check format protos bench bench-import bench-jobs bench-pages bench-stream lighthouse soak lock clean reset docs wheel release

### Run

help: ## Show this list
	@awk -F ':.*## ' '/^### / { printf "\n%s\n", substr($$0, 5) } /^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

up: $(INSTALLED) ## Start everything on http://127.0.0.1:8080 (GATEWAY_PORT=… SCALE="demo-worker=2" HA=1)
	@$(BIN)/python -m dev up

promote: $(INSTALLED) ## Make the standby of a system with HA=1 the primary, after a primary has died or to switch over
	@$(BIN)/python -m dev promote

demo: $(INSTALLED) ## Run the main job in this terminal, against the running system (ARGS="--interactions 100000 --keep"; ARGS=--survive breaks a system of its own)
	@$(BIN)/python -m dev demo $(ARGS)

# Through the environment: quotes of the payload stay as they are.
job: export JOB_FILE := $(value FILE)
job: export JOB_PAYLOAD := $(value ARGS)
job: $(INSTALLED) ## Run the job kinds of a file against the running system, reloading it (FILE=my_job.py ARGS='{"names": ["Ada"]}')
	@$(BIN)/python -m dev job "$$JOB_FILE" "$$JOB_PAYLOAD"

admin: $(INSTALLED) ## Inspect and control the job engine of the running system (ARGS="list --state failed"; ARGS=--help)
	@$(BIN)/python -m dev admin $(ARGS)

psql: $(INSTALLED) ## Open the database of the running system with psql, as its superuser (ARGS="--command='SELECT …'")
	@$(BIN)/python -m dev psql $(ARGS)

reset: $(INSTALLED) ## Delete all local data, after asking
	@$(BIN)/python -m dev reset

### Develop

test: $(INSTALLED) ## Run the tests (ARGS="tests/unit -k name")
	@tests/browser/install
	@tests/prometheus/install
	@tests/helm/install
	@$(BIN)/python tests/run $(ARGS)

smoke: $(INSTALLED) ## Run the main job, unit and contract tests, in less than a minute
	@$(BIN)/python tests/run --smoke

check: $(INSTALLED) ## Lint, formatting, types, protos, generated files
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy .
	$(BIN)/buf lint protos
	$(BIN)/python protos/generate.py --check
	$(BIN)/python -m dev.generated --check

format: $(INSTALLED) ## Format the code
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

protos: $(INSTALLED) ## Generate protos/gen, the TypeScript types of the gateway, docs/asyncapi.json, names of job kinds in emails and the chart's processes
	$(BIN)/python protos/generate.py
	$(BIN)/python -m dev.generated

docs: $(INSTALLED) .venv-docs/.installed ## Build the documentation site into site/
	@$(BIN)/python -m dev.site .docs
	@install -D -t .docs/pages/assets .venv-docs/node_modules/@mermaid-js/tiny/dist/mermaid.tiny.js
	@# Not quietly: then MkDocs counts no warnings, and --strict has no effect.
	@NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --strict --config-file .docs/mkdocs.yml --site-dir $(CURDIR)/site
	@! grep -rE --include=*.html '<(script|img|link|iframe)[^>]* (src|href)="?(https?:)?//' site | grep -v 'rel="?canonical' || { echo "the site loads files from elsewhere"; exit 1; }

wheel: $(INSTALLED) ## Build the stubs and the client for services outside this repository into dist/
	@$(BIN)/python protos/build_wheel.py dist

release: $(INSTALLED) ## Build what a release publishes into dist/, from a clean checkout (ENGINE=docker builds the images too)
	@tests/helm/install
	@$(BIN)/python -m dev.release --engine "$(ENGINE)"

lock: .venv-bootstrap/uv-$(UV_VERSION) ## Resolve requirements/*.in, and those of the benchmarks' peers, into *.txt
	cd requirements && $(lock_with) dev.in -o dev.txt
	cd requirements && for name in auth demo docs jobs gateway provision; do $(lock_with) -c dev.txt $$name.in -o $$name.txt || exit 1; done
	cd requirements && $(lock_with) --no-deps --no-emit-index-url helm.in -o helm.txt
	for peers in bench/jobs/peers bench/stream/peers bench/monolith; do ( cd $$peers && for name in *.in; do $(lock_with) --no-emit-index-url $$name -o $${name%.in}.txt || exit 1; done ) || exit 1; done
lock_with = $(CURDIR)/.venv-bootstrap/bin/uv pip compile --quiet --no-header --universal --python-version 3.11 --generate-hashes

screenshots: $(INSTALLED) ## Update the pictures of README and docs from the running system (GATEWAY_PORT=… ADMIN_EMAIL=… ADMIN_PASSWORD=…)
	$(BIN)/python -m tests.browser.screenshots

clean: ## Delete the virtual environment and all caches; data stays
	rm -rf .venv .venv-bootstrap .venv-docs .bench .docs dist site .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

### Slow tests

chaos: $(INSTALLED) ## Disturb a system at random (CHAOS_SECONDS=60 CHAOS_SEED=… CHAOS_HA=1)
	$(BIN)/python -m pytest tests/chaos -s $(ARGS)

mutants: $(INSTALLED) ## Take guards out, one at a time: each time a test must fail (ARGS=name)
	@$(BIN)/python -m tests.mutants $(ARGS)

previous: $(INSTALLED) ## Run the previous release's integration tests on the schema of this one (ARGS="tests/integration/jobs")
	@$(BIN)/python -m tests.previous $(ARGS)

ha: $(INSTALLED) ## Fail over PostgreSQL, kill NATS nodes, restore a backup, use PgBouncer, under load (FAILOVERS=3)
	$(BIN)/python -m pytest tests/ha -s $(ARGS)

hostile: $(INSTALLED) ## Send ten thousand malformed requests, floods and random bytes to a running system
	HOSTILE_REQUESTS=10000 $(BIN)/python -m pytest tests/security/test_hostile_traffic.py $(ARGS)

fuzz: $(INSTALLED) ## Fuzz the API from its OpenAPI document (FUZZ_EXAMPLES=50)
	FUZZ_EXAMPLES=$${FUZZ_EXAMPLES:-50} $(BIN)/python -m pytest tests/security/test_openapi.py $(ARGS)

models: $(INSTALLED) ## Compare random sequences of operations with the models of engine, sessions and connections (MODEL_EXAMPLES=200)
	MODEL_EXAMPLES=$${MODEL_EXAMPLES:-200} $(BIN)/python -m pytest tests/integration/jobs/test_state_machine.py \
		tests/integration/auth/test_session_machine.py tests/integration/auth/connections/test_state_machine.py $(ARGS)

postgres: $(INSTALLED) ## Test deploy/postgres (encryption, standby, promotion) with the PostgreSQL of this system
	$(BIN)/python -m pytest tests/system_postgres $(ARGS)

containers: ## Test docker-compose.yml in real containers (COMPOSE="docker compose")
	@COMPOSE="$(COMPOSE)" tests/containers/run

soak: $(INSTALLED) ## Open and close streams for minutes and check for leaks and lost events (ARGS="--minutes 30")
	$(BIN)/python -m bench.stream.soak $(ARGS)

### Benchmarks

bench: $(INSTALLED) ## Run the benchmarks (ARGS=…)
	$(BIN)/python -m bench $(ARGS)

bench-import: $(INSTALLED) ## Import a generated database of the old system (LEGACY_USERS=100000)
	$(BIN)/python -m bench.import_legacy

bench-jobs: $(INSTALLED) ## Compare the job engine with its peers (ARGS="--sustain 60 --history 5000000")
	$(BIN)/python -m bench.jobs $(ARGS)

bench-stream: $(INSTALLED) ## Compare event streams with their peers (ARGS="--only repruv")
	$(BIN)/python -m bench.stream $(ARGS)

bench-pages: $(INSTALLED) ## Measure the pages as browsers see them (ARGS="dashboard --loads 30")
	@tests/browser/install
	@$(BIN)/python -m bench.pages $(ARGS)

lighthouse: $(INSTALLED) ## Run Lighthouse on every page, about ten minutes (ARGS="dashboard --preset mobile")
	@tests/browser/install
	@$(BIN)/python -m bench.lighthouse $(ARGS)

# Debian's python3 comes without ensurepip; there a pinned virtualenv replaces it.
$(INSTALLED): requirements/dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; name it: make PYTHON=python3.11"; exit 1; }
	@test -x $(BIN)/pip || $(PYTHON) -m venv .venv 2>/dev/null || { \
	  rm -rf .venv && \
	  $(PYTHON) -m pip install --quiet --target .venv-bootstrap virtualenv==$(VIRTUALENV_VERSION) && \
	  PYTHONPATH=.venv-bootstrap $(PYTHON) -m virtualenv --quiet .venv; }
	@echo "installing requirements/dev.txt into .venv"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@touch $@

.venv-docs/.installed: requirements/docs.txt dev/site/package-lock.json | $(INSTALLED)
	@rm -rf .venv-docs && $(PYTHON) -m venv --without-pip .venv-docs
	@$(BIN)/python -m pip --python .venv-docs/bin/python install --quiet --disable-pip-version-check --require-hashes -r requirements/docs.txt
	@cp dev/site/package.json dev/site/package-lock.json .venv-docs
	@cd .venv-docs && PATH=$(CURDIR)/$(BIN):$$PATH npm ci --silent --ignore-scripts --no-audit --no-fund
	@touch $@

.venv-bootstrap/uv-$(UV_VERSION):
	$(PYTHON) -m pip install --quiet --upgrade --target .venv-bootstrap uv==$(UV_VERSION)
	@touch $@
