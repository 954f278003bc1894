# Everything that a developer or a continuous-integration machine runs. `make` alone lists it.
# The virtual environment .venv is made on first use and belongs to make: one that was left half-made is made anew.

# A pyenv shim may be there and yet not run, so each name is tried, not looked up.
PYTHON ?= $(shell for p in python3.11 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
# Errors only; `make test PIP_FLAGS=` shows what pip does.
PIP_FLAGS ?= -qq
# As many processes as there are processors; a file's tests in one of them, which share what they compile and plan.
PYTEST_FLAGS ?= -n auto --dist loadfile
VERIFY_FLAGS ?= --dtype float32 --dtype float64 --cases 1000 --seed 0 --jobs 2
# What torch takes besides a pair and a batch.
TORCH_FLAGS ?= --supports '{"string_padding": true, "unbatched": true}'

VENV := .venv
BIN := $(VENV)/bin
# As variables, and as two: the build backend is then pinned as well, by old and by new versions of pip.
PIP_INSTALL = PIP_CONSTRAINT=constraints.txt PIP_BUILD_CONSTRAINT=constraints.txt PIP_DISABLE_PIP_VERSION_CHECK=1 \
	$(BIN)/python -m pip install $(PIP_FLAGS)
INSTALLED := $(VENV)/.installed
DOCS_INSTALLED := $(VENV)/.docs-installed
ASV := cd asv_bench && ../$(BIN)/asv
ASV_MACHINE := $(HOME)/.asv-machine.json
# The benchmarks that a dashboard follows, and the commits; both are asv's, a regular expression and a range as git has it.
OVERVIEW := ^overview
BENCH ?= $(OVERVIEW)
COMMITS ?= HEAD^!
SOURCES := refconv tests examples asv_bench

.DEFAULT_GOAL := help
.PHONY: help verify test warm evidence gpu lint types format bench bench-short bench-check dashboard docs mutants findings findings-index clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

verify: $(INSTALLED) ## the main job: verify torch's conv2d, then see a wrong kernel fail
	$(BIN)/refconv verify examples/torch_conv2d.py:conv2d $(VERIFY_FLAGS) $(TORCH_FLAGS)
	@echo "Now a deliberately wrong kernel, examples/wrong_kernel.py, which must fail:"
	@status=0; $(BIN)/refconv verify examples/wrong_kernel.py:conv2d --quick --jobs 2 || status=$$?; \
	if [ $$status -eq 1 ]; then \
		echo "The wrong kernel failed (exit code 1), as it must: make verify passes."; \
	else \
		echo "make verify: the wrong kernel gave exit code $$status; it must give 1 (a candidate failed)." >&2; exit 1; \
	fi

test: $(INSTALLED) ## tests and doctests
	$(BIN)/pytest $(PYTEST_FLAGS)

warm: $(INSTALLED) ## compile everything ahead of time
	$(BIN)/refconv warmup

# What takes long, before a release: the tests that `make test` leaves out, and the figures of the docs. Each line's result
# is a file in a folder of the commit's own, and what is there is not done again: an interrupted run goes on where it was.
EVIDENCE := tests properties gpu_code mutants gates truth detection calibration diagnosis false_alarms
RESULTS := build/evidence/$(shell git describe --always --dirty 2>/dev/null || echo sdist)
evidence: $(EVIDENCE:%=$(RESULTS)/%.txt) ## hours: all that the tests leave out, and the figures of the docs
	@echo "All of it is in $(RESULTS)."

$(RESULTS)/tests.txt: RUN = pytest $(PYTEST_FLAGS) -m evidence
$(RESULTS)/properties.txt: RUN = pytest $(PYTEST_FLAGS)
$(RESULTS)/properties.txt: export HYPOTHESIS_PROFILE = thorough
$(RESULTS)/gpu_code.txt: RUN = python tests/support/gpu_code.py
$(RESULTS)/mutants.txt: RUN = refconv mutants --score
$(RESULTS)/%.txt: $(INSTALLED)
	@mkdir -p $(@D)
	PYTHONPATH=tests/support $(BIN)/$(or $(RUN),python tests/evidence/$*.py) > $@.part
	@mv $@.part $@

gpu: $(INSTALLED) ## the tests that need a GPU, and the times beside torch's there
	@$(BIN)/python -c "from refconv.arrays.gpu import device; device.check()"
	$(BIN)/pytest -n 0 -m gpu tests
	@if $(BIN)/python -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then \
		$(BIN)/python asv_bench/benchmarks/gpu.py; \
	else \
		echo "No times: the torch in $(VENV) has no GPU. Install one for CUDA there: https://pytorch.org/get-started"; \
	fi

lint: $(INSTALLED) ## ruff: rules and formatting
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(INSTALLED) ## mypy, strict
	$(BIN)/mypy

format: $(INSTALLED) ## ruff: format, and mend what can be mended
	$(BIN)/ruff check --fix-only
	$(BIN)/ruff format

bench: $(INSTALLED) $(ASV_MACHINE) ## the whole asv suite once, in place, nothing stored
	@echo "The whole suite: about seven minutes on two cores. make bench-short takes at most three."
	$(ASV) run --quick --dry-run --show-stderr -E "existing:$(CURDIR)/$(BIN)/python"

bench-short: $(INSTALLED) $(ASV_MACHINE) ## what users wait for, of the asv suite: at most three minutes
	$(ASV) run --quick --dry-run --show-stderr -E "existing:$(CURDIR)/$(BIN)/python" -b '$(OVERVIEW)'

bench-check: $(INSTALLED) ## that asv can build this commit, in an environment of its own, and load the suite there
	$(ASV) check

# asv goes on after a commit that does not build or a benchmark that fails, and so does this; the exit code is asv's.
dashboard: $(INSTALLED) $(ASV_MACHINE) ## measure a range of commits, COMMITS=HEAD~3..HEAD, and draw what changed
	@echo "Three to four minutes for each commit on two cores. BENCH=. measures the whole suite."
	@status=0; $(ASV) run --show-stderr -b '$(BENCH)' $(COMMITS) || status=$$?; \
	../$(BIN)/asv publish && ../$(BIN)/refconv dashboard . --json html/summary.json || exit; exit $$status

docs: $(DOCS_INSTALLED) ## the documentation, in docs/_build/html; its cells are run
	$(BIN)/sphinx-build -E -W --keep-going -q docs docs/_build/html

mutants: $(INSTALLED) ## write docs/mutants.md, the table of known bugs
	$(BIN)/python -m refconv.mutants > docs/mutants.md.new
	mv docs/mutants.md.new docs/mutants.md

findings: ## run findings/*.sh, surprises about other libraries, each in an environment of its own
	@failed=; for script in findings/*.sh; do \
		echo "== $$script"; PYTHON="$(PYTHON)" $$script || failed="$$failed $$script"; \
	done; \
	if [ -n "$$failed" ]; then echo "make findings: not as the header says:$$failed" >&2; exit 1; fi

findings-index: ## write docs/findings.md from the headers of findings/*.sh
	$(PYTHON) findings/index.py

clean: ## remove what was built and cached; .venv and build/evidence stay
	rm -rf dist docs/_build docs/generated asv_bench/env asv_bench/html asv_bench/results
	rm -rf .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find $(SOURCES) -name __pycache__ -type d -prune -exec rm -rf {} +

$(ASV_MACHINE): | $(INSTALLED)
	$(ASV) machine --yes >/dev/null

# The stamp is written last: without it the environment is not known to be whole and is made anew;
# with an old one it is brought up to date.
$(INSTALLED): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "make: neither python3.11 nor python3 is Python >= 3.11; name one: make PYTHON=/path/to/python" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and f"make: {sys.executable} is Python {sys.version.split()[0]}; refconv needs 3.11 or newer")'
	@test -e $@ || { echo "Making $(VENV) with $$($(PYTHON) --version)"; $(PYTHON) -m venv --clear $(VENV); }
	@echo "Installing refconv and its tools into $(VENV) (a minute or two; PIP_FLAGS= shows progress)"
	@$(PIP_INSTALL) --editable '.[dev]'
	@touch $@

$(DOCS_INSTALLED): $(INSTALLED)
	@echo "Installing the documentation tools into $(VENV)"
	@$(PIP_INSTALL) --editable '.[docs]'
	@touch $@
