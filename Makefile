# make setup | demo | serve | test | soak | lint | clean      (Python 3.11+ and make are all that must be there)
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help setup demo serve test soak lint format clean

help:
	@echo "make setup   build .venv and install brainmtl with its development tools (quick when done already)"
	@echo "make demo    synthetic data in, three trained stages and a table of held-out figures out (minutes)"
	@echo "make serve   service and page on this machine until Ctrl-C (without a model, a synthetic one is trained)"
	@echo "make test    lint and all tests, with coverage"
	@echo "make soak    the long counts that make test leaves out"
	@echo "make lint    ruff's checks alone"
	@echo "make format  let ruff format and fix what it can"
	@echo "make clean   remove caches (not data/, not outputs/, not .venv)"

setup: $(STAMP)

# The stamp is written last: an interrupted installation is taken up again.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: $$($(PYTHON) --version) is too old: Python 3.11 or newer is needed (make PYTHON=python3.12 ...)"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "error: $(PYTHON) lacks venv. On Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing brainmtl and its dependencies into $(VENV) (once; some minutes) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,serve,export,openvino,e2e,sweep,cluster]'
	@touch $(STAMP)

demo: setup
	@$(BIN)/python -m brainmtl.walkthrough

serve: setup
	@$(BIN)/python -m brainmtl.demo

# One process per core, one thread each; a file stays in one process, so that it shares its fixtures.
test: setup lint
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile --cov --cov-report=term

# Tests marked soak are the same checks with long counts.
soak: setup
	@BRAINMTL_SOAK=1 $(BIN)/python -m pytest -m soak

lint: setup
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

format: setup
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

clean:
	rm -rf .pytest_cache .ruff_cache .coverage htmlcov build *.egg-info
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
