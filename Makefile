# make demo: the quickstart, from nothing to its report. make test: lint, types, tests. make bench: speed beside PyTorch.
# All reuse .venv.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: demo test lint types bench clean

demo: $(VENV)/.run
	$(BIN)/python -m kdgan.main --config=configs/quickstart.py --workdir=runs/quickstart

test: lint types
	$(BIN)/python -m pytest -n auto --dist worksteal

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev
	$(BIN)/mypy

$(VENV)/.run: requirements.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

$(VENV)/.dev: requirements.txt requirements-dev.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $(VENV)/.run $@

$(VENV)/.bench: requirements.txt benchmarks/requirements.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r benchmarks/requirements.txt
	touch $(VENV)/.run $@

bench: $(VENV)/.bench
	$(BIN)/python -m benchmarks.run --suite=all --device=auto

clean:
	rm -rf $(VENV) runs
