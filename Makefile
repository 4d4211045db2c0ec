# The commands of LeukoWeb. `make run` needs Python 3.11 or newer and nothing else; `make test` also installs what tests need.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
PORT ?= 8000
DATA ?= data
JOBS ?= 2
RUN := .venv/bin/python

.PHONY: run install test check bench backup restore clean

run: .venv/installed
	@exec $(RUN) -m leukoweb.run --port $(PORT) --data "$(DATA)" $(if $(IMAGES),--images "$(IMAGES)")

install: .venv/installed

test: .venv/installed-dev
	$(RUN) -m pytest -n $(JOBS)

check: .venv/installed-dev
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .

bench: .venv/installed-dev
	$(RUN) -m detection bench
	$(RUN) -m leukoweb.ops.bench

backup: .venv/installed
	LEUKOWEB_DATA_DIR="$(abspath $(DATA))" $(RUN) manage.py backup "$(or $(TO),$(error say where to: make backup TO=/some/folder))"

restore: .venv/installed
	LEUKOWEB_DATA_DIR="$(abspath $(DATA))" $(RUN) manage.py restore "$(or $(FROM),$(error say from where: make restore FROM=/some/folder/backup-... DATA=/empty/folder))"

# The environment is made again when what the product needs has changed; otherwise this costs nothing.
.venv/installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "LeukoWeb needs Python 3.11 or newer: make PYTHON=/path/to/python3.11"; exit 1; }
	@test -x $(RUN) || $(PYTHON) -m venv .venv || { echo "Python cannot make an environment here. On Debian: apt-get install python3-venv"; exit 1; }
	$(RUN) -m pip install --quiet --editable .
	@touch $@

.venv/installed-dev: pyproject.toml .venv/installed
	$(RUN) -m pip install --quiet --editable ".[dev]"
	@touch $@

clean:
	rm -rf .venv
