# Everything runs from a virtual environment, which the first call makes. `make help` lists the targets.
# Settings: VENV (its folder), PYTHON (the interpreter to make it with), ARGS (more arguments for the command),
# CONFIG (the file that `make serve` reads), ALAAS_NO_UV=1 (install with plain pip).
VENV ?= .venv
PYTHON ?=
ARGS ?=
CONFIG ?=

BIN := $(abspath $(VENV))/bin
STAMP := $(VENV)/.installed
TRITON := .venv-triton/.made
export PYTHON
export PATH := $(BIN):$(PATH)

.DEFAULT_GOAL := help
.PHONY: help demo test slow lint chaos bench conformance serve lock

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: $(STAMP) ## bring up the whole fleet here, scan, select, label, train again; under 3 minutes
	alaas demo $(ARGS)

test: $(STAMP) $(TRITON) ## run the tests, with a short seeded part of the chaos trials
	pytest -m "not chaos and not slow" $(ARGS)

lint: $(STAMP) ## check style, imports, format and types
	ruff check .
	ruff format --check .
	mypy

slow: $(STAMP) $(TRITON) ## run the tests that make test leaves out because they take minutes
	pytest -m slow $(ARGS)

chaos: $(STAMP) $(TRITON) ## run all of the chaos trials; many minutes
	pytest -m chaos $(ARGS)

bench: $(STAMP) ## measure the fleet beside the model's own forward rate and a sequential script
	python -m load_tests.scan $(ARGS)

conformance: $(STAMP) ## put the strategies to their tests, and write docs/conformance.md
	ALAAS_WRITE_CONFORMANCE=1 pytest tests/contracts/test_strategies.py tests/unit/strategies $(ARGS)

serve: $(STAMP) ## serve on this machine; CONFIG=file.yml to configure
	alaas serve $(CONFIG) $(ARGS)

# Repeated calls cost nothing: the stamp is older than these two only when there is something to install.
$(STAMP): pyproject.toml constraints.txt
	@.ci/make-venv $(VENV)
	@touch $@

# A real Triton server for the tests; where it cannot be had, they skip and say why.
$(TRITON): $(STAMP) .ci/make-triton
	@python .ci/make-triton $(dir $@)
	@touch $@

# For whoever changes the dependencies: resolves anew, keeping what is pinned where it still fits. Needs uv.
# Plain lines, since a lock file would hold download addresses; torch pins its own CUDA packages exactly.
lock:
	@cp constraints.txt constraints.new
	@uv pip compile pyproject.toml --extra dev --universal --quiet --no-header --no-annotate --no-emit-index-url \
		--output-file constraints.new $(ARGS)
	@{ sed -n '/^#/p' constraints.txt; sed -E '/^(cuda-|nvidia-|triton=)/d; /win32/d; s/ *;.*//' constraints.new | awk -F== '!seen[$$1]++'; } \
		> constraints.txt.new && mv constraints.txt.new constraints.txt && rm constraints.new
