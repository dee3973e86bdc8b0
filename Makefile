# The two commands of README.md, `make explore` and `make test`, and the smaller ones they are made of.
# PYTHON is the interpreter that makes the environment VENV; an environment that is already there is used as it is.
PYTHON ?= python3
VENV ?= .venv
PAGE ?= explorer.html
# So many processes run the tests side by side.
WORKERS ?= $(shell $(PYTHON) -c 'import os; print(min(4, os.cpu_count() or 1))')

SHELL := /bin/sh
BIN := $(VENV)/bin
CODE := patchwidgets tests notebooks .ci
# Build environments read the constraints from the environment alone; newer pips have a variable of their own for that.
PIP_INSTALL := PIP_CONSTRAINT=constraints.txt PIP_BUILD_CONSTRAINT=constraints.txt $(BIN)/python -m pip install
WITH_NODE := PATH="$(abspath $(VENV))/node:$$PATH"
# The address it prints is the notebook's own; .ci/jupyter keeps JupyterLab from asking the network for news and updates.
LAB := JUPYTER_CONFIG_PATH="$(CURDIR)/.ci/jupyter$${JUPYTER_CONFIG_PATH:+:$$JUPYTER_CONFIG_PATH}" \
	$(BIN)/jupyter-lab --log-level=WARN --ServerApp.root_dir=playground --LabApp.default_url=/lab/tree/explorer.ipynb
ifeq ($(shell id -u),0)
LAB += --allow-root
endif

.PHONY: help explore page test check pytest pictures mutants bench bundle format node chromium clean
.DELETE_ON_ERROR:

help:
	@echo "make explore   install, open the Explorer in JupyterLab on a copy of notebooks/ and print its address"
	@echo "make page      install, execute the same notebook without a screen, write PAGE ($(PAGE))"
	@echo "make test      install, run every check and test"
	@echo "make check     lint, types, front-end tests; make pytest: the Python and browser tests"
	@echo "make pictures  take the pictures anew that tests/browser/test_pictures.py compares with; look at them"
	@echo "make bench     time the sweeps beside their peers (TABLES=\"sweeps --only resid_pre z\")"
	@echo "make mutants   put faults into the engine and see whether the tests notice them (FAULTS=--help)"
	@echo "make bundle    rebuild patchwidgets/static from js/"
	@echo "make format    let ruff sort imports and format"
	@echo "make clean     remove what the other targets made, the environment .venv included"

explore: $(VENV)/.lab
	@mkdir -p playground
	@for each in notebooks/*; do test -e "playground/$${each##*/}" || cp -R "$$each" playground/; done
	@$(LAB)

page: $(VENV)/.lab
	PATCHWIDGETS_PAGE="$(abspath $(PAGE))" $(BIN)/jupyter-execute notebooks/explorer.ipynb
	@test -s "$(abspath $(PAGE))"
	@echo "The page is $(abspath $(PAGE))"

test:
	@$(MAKE) check
	@$(MAKE) pytest

check: $(VENV)/.test $(VENV)/.node_modules
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(WITH_NODE) $(BIN)/pyright --pythonpath $(BIN)/python
	cd js && $(WITH_NODE) npm run --silent typecheck
	cd js && $(WITH_NODE) npm run --silent test
	$(WITH_NODE) $(BIN)/python .ci/bundle.py

pytest: $(VENV)/.test $(VENV)/.node_modules chromium
	OMP_NUM_THREADS=1 PATCHWIDGETS_CHROMIUM="$$(cat $(VENV)/.chromium)" \
		$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile

pictures: $(VENV)/.test $(VENV)/.node_modules chromium
	OMP_NUM_THREADS=1 PATCHWIDGETS_PICTURES=keep PATCHWIDGETS_CHROMIUM="$$(cat $(VENV)/.chromium)" \
		$(BIN)/python -m pytest tests/browser/test_pictures.py

bench: $(VENV)/.test
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.benchmarks $(TABLES)

mutants: $(VENV)/.test
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.mutation $(FAULTS)

bundle: $(VENV)/.node_modules
	cd js && $(WITH_NODE) npm run --silent build

format: $(VENV)/.test
	$(BIN)/ruff check --fix-only $(CODE)
	$(BIN)/ruff format $(CODE)

node: $(VENV)/.made
	@$(BIN)/python .ci/node.py $(VENV)/node

chromium: $(VENV)/.test
	@$(BIN)/python .ci/chromium.py $(VENV)/.chromium

# The pip of an older Python searches for minutes where the pinned one says in seconds what does not fit.
$(VENV)/.made: .ci/environment.py
	@$(PYTHON) .ci/environment.py $(VENV)
	$(PIP_INSTALL) --upgrade pip
	@touch $@

$(VENV)/.lab: $(VENV)/.made pyproject.toml constraints.txt
	$(PIP_INSTALL) -e ".[lab]"
	@touch $@

$(VENV)/.test: $(VENV)/.made pyproject.toml constraints.txt
	$(PIP_INSTALL) -e ".[test]"
	@touch $@ $(VENV)/.lab

$(VENV)/.node_modules: js/package.json js/package-lock.json js/.npmrc | node
	cd js && $(WITH_NODE) npm ci
	@touch $@

clean:
	rm -rf .venv playground js/node_modules tests/artifacts dist .pytest_cache .ruff_cache .hypothesis explorer.html
	find $(CODE) -name __pycache__ -prune -exec rm -rf {} +
