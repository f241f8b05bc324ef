PYTHON ?= .venv/bin/python

.PHONY: demo test bench docs lint sanitize clean

.venv:
	python3 -m venv .venv
	.venv/bin/pip install -q '.[demo,test]'

demo: .venv
	$(PYTHON) -m quatrefoil demo

test: .venv
	$(PYTHON) -m pytest -q -n auto

bench: .venv
	$(PYTHON) -m pip install -q '.[bench]'
	$(PYTHON) -m quatrefoil bench

docs: .venv
	$(PYTHON) -m pip install -q '.[docs]'
	$(PYTHON) -m sphinx -W docs build/site

lint: .venv
	$(PYTHON) -m pip install -q ruff mypy clang-format
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy
	$(PYTHON) -c "import glob, subprocess, sys; sys.exit(subprocess.call(['$(dir $(PYTHON))clang-format', '--dry-run', '-Werror', *glob.glob('csrc/**/*.[ch]pp', recursive=True)]))"

sanitize: .venv
	.ci/sanitize $(PYTHON) .

clean:
	rm -rf .venv build quatrefoil-demo
