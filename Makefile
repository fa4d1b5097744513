# `make sweep` and `make test` are all the set-up there is: both create the environment when it is missing.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
RUNS ?= runs
REPORT ?= report
FRONTIER ?= frontier
BASE ?= HEAD
NUMERIC := tests/models $(addprefix tests/training/test_,losses.py gradient_rules.py module.py perturbation.py processes.py) \
	$(addprefix tests/evaluation/test_,ranking.py contrastive_entropy.py bm25.py reranking.py packed.py against_beir.py)

STUDY ?= pydocs
SCALE ?= smoke

.DEFAULT_GOAL := help
.PHONY: help setup sweep frontier study study-plan results report test test-lesser test-slow bench bench-quick bench-gpu same codes lint sync clean

help:  ## this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(READY)  ## create .venv and install the project with its exact, tested versions

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed; name one with: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV) (some minutes the first time) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $(READY)

sweep: $(READY)  ## the demonstration sweep: 20 runs on pydocs, fitted, drawn; 10 to 20 minutes on 2 CPU cores
	$(BIN)/python train.py -m experiment=demo runs=$(RUNS)
	@$(MAKE) --no-print-directory report
	$(BIN)/python -m sweeps efficiency --runs $(RUNS) --law interpolated --out $(REPORT)/efficiency.json

frontier: $(FRONTIER)/mixture.json $(FRONTIER)/frontier.json  ## fixed ω traces the frontier in dev metrics, a mixture law is fitted, rules of ω follow; over an hour
	$(BIN)/python train.py -m experiment=frontier strategy=pareto strategy.rule=proxy,guarded,repeats runs=$(FRONTIER)/runs
	$(BIN)/python train.py -m experiment=frontier strategy=pareto strategy.rule=law \
		strategy.mixture=$(FRONTIER)/mixture.json runs=$(FRONTIER)/runs
	$(BIN)/python train.py -m experiment=frontier strategy=pareto strategy.rule=dro \
		strategy.frontier=$(FRONTIER)/frontier.json runs=$(FRONTIER)/runs
	$(BIN)/python -m sweeps frontier --runs $(FRONTIER)/runs --out $(FRONTIER)/frontier-test.json
	$(BIN)/python -m sweeps compare --runs $(FRONTIER)/runs --baseline standard --strategy pareto \
		--regret --out $(FRONTIER)/compare.json
	@$(MAKE) --no-print-directory report RUNS=$(FRONTIER)/runs REPORT=$(FRONTIER)/report

# Both made once, from the same runs: what they steer must not become part of what they are drawn from.
$(FRONTIER)/frontier.json: | $(FRONTIER)/.traced
	$(BIN)/python -m sweeps frontier --dev --runs $(FRONTIER)/runs --out $@

$(FRONTIER)/mixture.json: | $(FRONTIER)/.traced
	$(BIN)/python -m sweeps mixture --runs $(FRONTIER)/runs --out $@

$(FRONTIER)/.traced: | $(READY)
	$(BIN)/python train.py -m experiment=frontier runs=$(FRONTIER)/runs
	$(BIN)/python train.py -m experiment=frontier strategy=pareto strategy.rule=fixed \
		strategy.omega=0.1,0.25,0.5,0.75 runs=$(FRONTIER)/runs
	@touch $@

# COLLECTIONS=folder of BEIR folders; STUDY_MODEL=folder or hub id of a pretrained encoder.
STUDY_WORDS = $(STUDY) --scale $(SCALE) $(if $(COLLECTIONS),--collections $(COLLECTIONS))
STUDY_OVERRIDES = $(if $(STUDY_MODEL),-- model.pretrained=$(STUDY_MODEL))

study: $(READY)  ## a study: STUDY=pydocs|collections|families SCALE=smoke|laptop|gpu; plan, sweeps, table, page; resumes
	$(BIN)/python -m sweeps study $(STUDY_WORDS) $(STUDY_OVERRIDES)

study-plan: $(READY)  ## what that study would run, and how long
	$(BIN)/python -m sweeps study $(STUDY_WORDS) --plan $(STUDY_OVERRIDES)

results: $(READY)  ## every record, table and page of docs/results anew from its runs.csv
	@set -e; for table in docs/results/*/runs.csv; do name=$$(basename $$(dirname $$table)); \
		echo "$$name"; $(BIN)/python -m sweeps study $$name --table $$table; done

report: $(READY)  ## fit the laws and write the report of all runs so far
	$(BIN)/python -m sweeps report --runs $(RUNS) --out $(REPORT)

test: $(READY)  ## the test suite without the slow tests
	$(BIN)/python -m pytest

# oneDNN, ATen and MKL read these variables when they are loaded; train.precision=auto is then 32.
test-lesser: $(READY)  ## the tests of what is computed again, as a processor without AVX-512 computes, on one thread
	ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2 MKL_ENABLE_INSTRUCTIONS=AVX2 OMP_NUM_THREADS=1 \
		$(BIN)/python -m pytest $(NUMERIC)

test-slow: $(READY)  ## every test
	$(BIN)/python -m pytest -m ''

bench: $(READY)  ## speed side by side with sentence-transformers and beir
	$(BIN)/python -m benchmarks

bench-quick: $(READY)  ## its main rows, in less than 5 minutes on two idle cores
	$(BIN)/python -m benchmarks --quick

bench-gpu: $(READY)  ## the same on one NVIDIA GPU, planned for less than 8 minutes
	$(BIN)/python -m benchmarks --device cuda --sizes tiny,mini,base --rounds 1

same: $(READY)  ## whether a change of the code changes a number: small cells at commit BASE and as it is
	$(BIN)/python -m benchmarks.same --base $(BASE)

codes: $(READY)  ## write docs/codes.md anew from the registries of codes
	$(BIN)/python -m sweeps.codes

lint: $(READY)  ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

sync: $(READY)  ## upload offline W&B runs
	@find $(RUNS) -mindepth 2 -maxdepth 2 -name wandb -type d -print0 | xargs -0 -r -n 500 $(BIN)/wandb sync

clean:  ## remove the environment and the cache (runs stay)
	rm -rf $(VENV) .cache
