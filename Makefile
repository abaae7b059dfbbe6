# make          set up a local environment and run config.yaml to results/report.html
# make test     set up and run the tests that take minutes
# make test-slow    the tests that take longer: whole runs, kills at random moments
# make test-slurm    a run on a SLURM of this machine, as root: apt-get install slurm-wlm slurmdbd munge mariadb-server
# make benchmark    the numbers of docs/speed.md
# make screenshots    pictures of results/report.html in results/screenshots, by chromium
# make reference    docs/configuration.md, docs/columns.md and rules/operations.json, of what the code knows
# make clean    delete the environment; results stay

PYTHON ?= python3
CORES ?= all
VENV := .venv/bin

.PHONY: report test test-slow test-slurm benchmark screenshots reference format clean

report: .venv/run
	$(VENV)/snakemake --cores $(CORES)
	@echo "The report is in $(CURDIR)/results/report.html"

test: .venv/test
	$(VENV)/ruff check .
	$(VENV)/ruff format --check .
	$(VENV)/snakefmt --check Snakefile rules
	$(VENV)/ty check scripts/patchwork
	$(VENV)/snakemake --lint
	$(VENV)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

test-slow: .venv/test
	$(VENV)/python -m pytest --numprocesses 2 --dist worksteal -m slow

test-slurm: .venv/test
	$(VENV)/python -m pytest -m slurm

benchmark: .venv/test
	PATCHWORK_IMAGES=$(PATCHWORK_IMAGES) $(VENV)/python tests/benchmark.py
	$(VENV)/python tests/benchmark_corruptions.py
	$(VENV)/python tests/benchmark_training.py
	$(VENV)/python tests/benchmark_information_loss.py
	$(VENV)/python tests/benchmark_few_shot.py
	$(VENV)/python tests/benchmark_tokens.py
	$(VENV)/python tests/benchmark_probing.py
	$(VENV)/python tests/benchmark_scale.py

screenshots: .venv/test
	$(VENV)/python tests/screenshots.py results/report.html results/screenshots

reference: .venv/run
	PYTHONPATH=scripts $(VENV)/python -m patchwork.reference

format: .venv/test
	$(VENV)/ruff check --fix .
	$(VENV)/ruff format .
	$(VENV)/snakefmt Snakefile rules

clean:
	rm -rf .venv

.venv/run: requirements.txt requirements-alone.txt constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Patchwork needs Python 3.11 or newer; name one: make PYTHON=python3.12"; exit 1; }
	@echo "Setting up .venv: some minutes, mostly for torch"
	$(PYTHON) -m venv .venv
	$(VENV)/python -m pip install --disable-pip-version-check --requirement requirements.txt --constraint constraints.txt
	$(VENV)/python -m pip install --disable-pip-version-check --no-deps --requirement requirements-alone.txt
	@touch $@

.venv/test: .venv/run requirements-test.txt requirements-test-alone.txt
	$(VENV)/python -m pip install --disable-pip-version-check --requirement requirements-test.txt --constraint constraints.txt
	$(VENV)/python -m pip install --disable-pip-version-check --requirement requirements-test-alone.txt --no-deps
	@touch $@
