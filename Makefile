# make demo: the quickstart, from nothing to its report. make test: lint, types, tests. make bench: speed beside PyTorch.
# All reuse .venv. They install the versions in constraints/, with which the tests passed; requirements.txt has the ranges.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
VERSION = $$($(BIN)/python -c 'import sys; print("%d.%d" % sys.version_info[:2])')
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints/$(VERSION).txt

.PHONY: demo test test-all test-extras extras lint types bench constraints clean

demo: $(VENV)/.run
	$(BIN)/python -m kdgan.main --config=configs/quickstart.py --workdir=runs/quickstart

test: lint types
	$(BIN)/python -m pytest -n auto --dist worksteal

# The same, with every method under every way of running.
test-all: lint types
	$(BIN)/python -m pytest -n auto --dist worksteal --all-ways

# What needs packages beyond requirements.txt: PyTorch, ONNX, LiteRT, ...
test-extras: $(VENV)/.extras
	$(BIN)/python -m pytest -n auto --dist worksteal -m extra

extras: $(VENV)/.extras

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev
	$(BIN)/mypy

$(VENV)/.made:
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/.run: $(VENV)/.made requirements.txt $(wildcard constraints/*)
	$(INSTALL) -r requirements.txt
	touch $@

$(VENV)/.dev: $(VENV)/.made requirements.txt requirements-dev.txt $(wildcard constraints/*)
	$(INSTALL) -r requirements-dev.txt
	touch $(VENV)/.run $@

$(VENV)/.bench: $(VENV)/.made requirements.txt benchmarks/requirements.txt $(wildcard constraints/*)
	$(INSTALL) -r benchmarks/requirements.txt
	touch $(VENV)/.run $@

$(VENV)/.extras: $(VENV)/.dev pyproject.toml $(wildcard requirements-export*.txt) $(wildcard constraints/*)
	$(INSTALL) -e ".[pytorch,safetensors,onnx,quantise,images]" -r requirements-export.txt
	$(INSTALL) --no-deps -r requirements-export-no-deps.txt
	-$(BIN)/python -m kdgan.export.onnxruntime_web
	touch $@

bench: $(VENV)/.bench
	$(BIN)/python -m benchmarks.run --suite=all --device=auto

# The newest versions that the ranges allow, as this PYTHON resolves them; commit them once `make test` passes with them.
constraints:
	rm -rf $(VENV) && $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	(echo "# Versions that the tests passed with on Python $(VERSION); make constraints renews them." && \
	 $(BIN)/python -m pip freeze --exclude setuptools) > constraints/$(VERSION).txt

clean:
	rm -rf $(VENV) runs
