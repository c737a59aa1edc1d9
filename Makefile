VENV := .venv
PYTHON ?= python3
# uv does not read pip's find-links; pass it on where the machine has one (empty is harmless).
export UV_FIND_LINKS ?= $(PIP_FIND_LINKS)

.PHONY: demo lab test lint env gallery clean

demo: $(VENV)/.stamp        ## run one study's quick preset headless and print its table
	$(VENV)/bin/labkit run oversampling --preset quick

lab: $(VENV)/.stamp         ## open JupyterLab on the start page
	$(VENV)/bin/jupyter lab notebooks/start_here.ipynb

test: $(VENV)/.stamp-test   ## everything CI runs
	$(VENV)/bin/python -m pytest

lint: $(VENV)/.stamp-test   ## formatting, lint, types, spelling, stripped notebooks
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/codespell
	$(VENV)/bin/nbstripout --verify --keep-id notebooks/*.ipynb

env: $(VENV)/.stamp-test    ## the environment with the test tools

gallery: $(VENV)/.stamp     ## execute every notebook (quick) and publish it as HTML under runs/gallery
	$(VENV)/bin/python benchmarks/gallery.py

clean:                      ## remove the environment, caches and build products; runs/ stays
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache .mypy_cache tests/.cache
	find labkit tests -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/bin/uv:
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install -q uv

$(VENV)/.stamp: pyproject.toml constraints.txt | $(VENV)/bin/uv
	$(VENV)/bin/uv pip install -q --python $(VENV)/bin/python -c constraints.txt -e .
	touch $@

$(VENV)/.stamp-test: pyproject.toml constraints.txt | $(VENV)/.stamp
	$(VENV)/bin/uv pip install -q --python $(VENV)/bin/python -c constraints.txt -e '.[test]'
	touch $@
