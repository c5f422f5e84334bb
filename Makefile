# make help lists what there is. Everything happens in .venv; to use an environment of your own (with your own
# Detectron2), activate it and add VENV= to every command, as in: make test VENV=
SHELL := bash
PYTHON ?= python3
VENV ?= .venv
TORCH ?= torch torchvision

ifneq ($(strip $(VENV)),)
PY := $(VENV)/bin/python
STAMP := $(VENV)/.stamp
else
PY := $(PYTHON)
STAMP := build/.stamp$(subst /,-,$(shell $(PYTHON) -c "import sys; print(sys.prefix)"))
endif

# pip says which large files it fetches, and its errors, and nothing else.
PIP_INSTALL = set -o pipefail; PYTHONUNBUFFERED=1 PYTHONWARNINGS=ignore $(PY) -m pip install --disable-pip-version-check $(1) \
	| awk '/^ *(Downloading|Using cached) .* [MG]B\)/ { print; fflush() } /^Installing/ { print "  Installing"; fflush() }'
# A process for each core with one thread each: more threads than cores slow each other.
PYTEST = OMP_NUM_THREADS=1 $(PY) -m pytest -q -n auto --dist loadfile
# An OpenCV that works is kept, whichever of its wheels it came from (see setup.py).
FIND_OPENCV = import cv2; from importlib.metadata import packages_distributions as p; print(p()["cv2"][0])

.DEFAULT_GOAL := help
.PHONY: help setup demo web test docs benchmark quality types coverage format clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

setup: $(STAMP) ## Make .venv with torch, Detectron2 and this package; says which Detectron2 (variables: PYTHON, VENV, TORCH, DETECTRON2)
	@$(if $(JUST_MADE),,$(PY) tools/install_detectron2.py)

demo: $(STAMP) ## Explain the bundled images with the bundled detectors: output/demo/index.html
	$(PY) -m d2_saliency.cli explain --config-file configs/demo/retinanet_planted.yaml --output output/demo_retinanet
	$(PY) -m d2_saliency.cli explain --config-file configs/demo/faster_rcnn_planted.yaml --output output/demo

web: $(STAMP) ## Serve the web app to this machine's browser: http://127.0.0.1:7860
	@$(call PIP_INSTALL,-e '.[web]')
	$(PY) -m d2_saliency.cli app

test: $(STAMP) ## Run the tests
	$(PYTEST)

docs: $(STAMP) ## Build the documentation, a site that opens from disk: build/docs/index.html
	@$(call PIP_INSTALL,-e '.[docs]')
	NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build

benchmark: $(STAMP) ## Measure what explanations cost beside one stock inference
	$(PY) tools/benchmark.py

quality: $(STAMP) ## Check style
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

types: $(STAMP) ## Check type hints
	$(PY) -m mypy

coverage: $(STAMP) ## Run the tests and report which lines none of them runs; fails below 90 %
	$(PYTEST) --cov --cov-report=term

format: $(STAMP) ## Repair style
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

clean: ## Remove .venv, build products and output/
	rm -rf .venv build dist output *.egg-info .pytest_cache .ruff_cache .mypy_cache

# The stamp says that the environment is complete: as long as these files do not change, nothing is installed again.
$(STAMP): setup.py pyproject.toml tools/install_detectron2.py tools/detectron2_pure.py
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 10))" || { \
		echo "d2_saliency needs Python 3.10 or newer; '$(PYTHON)' is: $$($(PYTHON) --version 2>&1)." >&2; \
		echo "Name another one: make $(or $(MAKECMDGOALS),setup) PYTHON=/path/to/python3.11" >&2; exit 1; }
ifneq ($(strip $(VENV)),)
	@$(PYTHON) -c "import ensurepip, venv" 2>/dev/null || { \
		echo "'$(PYTHON)' cannot make virtual environments: install its venv module (Debian, Ubuntu: apt install python3-venv)." >&2; exit 1; }
	@test -x $(PY) || { echo "Making $(VENV)"; $(PYTHON) -m venv $(VENV); }
	@echo "Installing $(TORCH)"
	@$(call PIP_INSTALL,$(TORCH))
else
	@mkdir -p $(@D)
endif
	@echo "Installing d2_saliency and what it needs"
	@$(PY) -m pip list --format=freeze | grep -iE '^(torch|torchvision|numpy)==' > $(STAMP).keep || true
	@export D2_SALIENCY_OPENCV="$$($(PY) -c '$(FIND_OPENCV)' 2>/dev/null)"; \
		$(call PIP_INSTALL,-c $(STAMP).keep -e '.[dev]')
	@echo "Installing Detectron2, if it is missing"
	@$(PY) tools/install_detectron2.py
	@touch $@
	$(eval JUST_MADE := yes)
