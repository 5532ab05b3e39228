# Two commands do everything: `make demo` and `make test`. Each makes .venv when it is missing.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TEST_PROCESSES ?= 3

.PHONY: install demo test check docs format clean

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info[:2] <= (3, 13) else "openeo-gfmap needs Python 3.11 to 3.13, this is " + sys.version.split()[0] + "; run: make PYTHON=/path/to/python3.x")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

# The main job on 16 bundled fields, for three months.
demo: install
	@$(BIN)/gfmap demo --output gfmap-demo

# Several at once, since many wait for a server or a killed process; a file is one process's.
test: install
	$(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist loadfile

check: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Pages in docs/_build/html; a warning fails.
docs: install
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html

format: install
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) build dist docs/_build .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
