# make demo, make test: each sets up what it needs. See CONTRIBUTING.md for the rest.
.DEFAULT_GOAL := help
SHELL := /bin/bash

# uv from the PATH, or one of our own in .uv/.
UV := $(shell command -v uv 2>/dev/null || echo .uv/bin/uv)
RUN := .venv/bin/python -m
export PATH := $(CURDIR)/.venv/bin:$(dir $(abspath $(UV))):$(PATH)

.PHONY: help env demo demo-documents test faults bench clean

help: ## Show what there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

env: .venv/ready ## Set up uv and the locked environment in .venv

demo: env ## Train, serve, compare and break a portfolio of digit readers
	@$(RUN) examples.digits

demo-documents: env ## Read a folder of documents with models people use, as a pipeline of specialists
	@$(RUN) examples.documents

test: env postgresql curl ## Run all checks and all tests
	@$(RUN) poethepoet check

faults: env iptables ## Break everything there is and count what becomes of requests; ARGS=--soak
	@$(RUN) tests.faults $(ARGS)

bench: env h2load ## Measure it beside Triton, KServe, MLServer and Ray Serve; ARGS=--quick
	@$(RUN) tests.benchmarks $(ARGS)

.uv/bin/uv:
	@python3 -c 'import sys; sys.exit("fabric needs Python 3.11 or newer" if sys.version_info < (3, 11) else 0)'
	python3 -m venv .uv
	.uv/bin/pip install --quiet --disable-pip-version-check uv

.venv/ready: $(filter .uv/%,$(UV)) pyproject.toml uv.lock
	$(UV) sync --quiet --frozen --all-extras
	@touch $@

# The store's tests run on a real PostgreSQL, which the tests start by themselves.
.PHONY: postgresql
postgresql:
	@ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || command -v postgres >/dev/null || \
	  if [ "$$(id -u)" = 0 ]; then apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -q -y postgresql; \
	  else echo "the tests need PostgreSQL: sudo apt-get install postgresql" >&2; exit 1; fi

# The README's commands are tested, too.
.PHONY: curl
curl:
	@command -v curl >/dev/null || \
	  if [ "$$(id -u)" = 0 ]; then apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -q -y curl; \
	  else echo "the tests need curl: sudo apt-get install curl" >&2; exit 1; fi

# Faults lose packets in a network namespace, for which they must be root.
.PHONY: iptables
iptables:
	@command -v iptables >/dev/null || \
	  if [ "$$(id -u)" = 0 ]; then apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -q -y iptables; \
	  else echo "faults need iptables: sudo apt-get install iptables" >&2; exit 1; fi

# The load of the benchmarks.
.PHONY: h2load
h2load:
	@command -v h2load >/dev/null || \
	  if [ "$$(id -u)" = 0 ]; then apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -q -y nghttp2-client; \
	  else echo "the benchmarks need h2load: sudo apt-get install nghttp2-client" >&2; exit 1; fi

clean: ## Remove the environments and caches
	rm -rf .venv .uv .mypy_cache .ruff_cache .pytest_cache benchmarks-results
