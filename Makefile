# The commands of LeukoWeb. `make run` needs Python 3.11 or newer and nothing else; `make test` also installs what tests need.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
PORT ?= 8000
DATA ?= data
# Three on two cores: a test of real processes waits more than it computes. What a process lacks it takes from the others.
JOBS ?= 3
RUN := .venv/bin/python

.PHONY: run install test test-fast test-nightly chaos check check-python check-scripts check-security sbom docs pictures messages lock bench bench-size load backup restore vendor clean

run: .venv/installed
	@exec $(RUN) -m leukoweb run --port $(PORT) --data "$(DATA)" $(if $(IMAGES),--images "$(IMAGES)")

install: .venv/installed

test: .venv/installed-dev
	$(RUN) -m pytest -n $(JOBS) --dist worksteal -m "not nightly"

# Rules, services and pages on SQLite, each test a moment: what to run while working. Left out are browser, real workers,
# whole fields, signed reports in every form, and the files that need seconds for torch or Playwright before their first test.
SLOW_FILES := $(addprefix tests/,browser test_calibration.py test_evaluation.py test_mosaic.py test_training.py)
test-fast: .venv/installed-dev
	LEUKOWEB_TEST_DATABASE=sqlite $(RUN) -m pytest -n $(JOBS) --dist worksteal -p no:playwright $(SLOW_FILES:%=--ignore=%) \
	    -m "not slow and not browser and not services and not nightly"

# What takes many minutes: ten thousand schedules of the run's state machine, the whole demonstration, many random inputs.
test-nightly: .venv/installed-dev
	$(RUN) -m pytest -n $(JOBS) --dist worksteal -m nightly

# Real processes under N random faults of a seed: what is lost, twice or an orphan (SLIDES=50; MINUTES=60: no fault after; REAL=1: parts of real fields).
SEED ?= 1
N ?= 200
chaos: .venv/installed-dev
	$(RUN) -m tests.chaos --seed $(SEED) --faults $(N) $(if $(SLIDES),--slides $(SLIDES)) $(if $(MINUTES),--minutes $(MINUTES)) $(if $(REAL),--real)

check: check-python check-scripts check-security

check-python: .venv/installed-dev
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m djlint --quiet --lint templates
	$(RUN) -m mypy
	LEUKOWEB_DATA_DIR="$$(mktemp -d)" LEUKOWEB_ENV_FILE= $(RUN) manage.py makemigrations --check --dry-run

check-scripts: .venv/installed-dev
	@if command -v npx >/dev/null; then \
	    npx --yes eslint@9 --max-warnings 0 static/js && npx --yes -p typescript@5 tsc -p tsconfig.json; \
	else echo "Not run: eslint and tsc (no npx on PATH; Debian: apt-get install npm)"; fi

# Secrets in tracked files (formats of known services, private keys, passwords in addresses), and known weaknesses of the
# locked libraries. Both need the tools of .venv/audit; advisories come from the network and are left out where there is none.
AUDIT := .venv/audit/bin
check-security: .venv/installed-audit
	@if ! test -x $(AUDIT)/detect-secrets-hook; then echo "Not run: detect-secrets and pip-audit (they could not be installed)"; exit 0; fi; \
	 git ls-files -z -- . ':!static/vendor' ':!*.pt' ':!*.jpg' ':!*.png' ':!*.gz' ':!*.mo' | xargs -0 $(AUDIT)/detect-secrets-hook \
	    --disable-plugin KeywordDetector --disable-plugin HexHighEntropyString --disable-plugin Base64HighEntropyString \
	    --exclude-lines 'user:password@' && \
	 { $(AUDIT)/pip-audit --requirement requirements.lock --no-deps --disable-pip --progress-spinner off >.venv/audit/found 2>&1 \
	   || { grep -q '^Found [0-9]* known' .venv/audit/found && cat .venv/audit/found && exit 1; }; \
	   grep -q 'could not be audited\|Error' .venv/audit/found && echo "Not audited: the advisories could not be reached" || true; }

# The bill of materials of what requirements.lock installs, in CycloneDX, for a release.
sbom: .venv/installed-audit
	@mkdir -p dist && $(AUDIT)/cyclonedx-py requirements requirements.lock --pyproject pyproject.toml --output-reproducible \
	    --output-file dist/leukoweb.cdx.json && echo "dist/leukoweb.cdx.json"

.venv/installed-audit: .venv/installed-dev
	@$(PYTHON) -m venv .venv/audit && $(AUDIT)/pip install --quiet "pip-audit>=2.9,<3" "detect-secrets>=1.5,<2" "cyclonedx-bom>=7,<8" \
	 && touch $@ || echo "The tools of the audit could not be installed"

# The documentation as a small site in `site/`.
docs: .venv/installed-dev
	NO_MKDOCS_2_WARNING=1 $(RUN) -m mkdocs build --strict --quiet

# The pictures of README and tour, from the demonstration that `make run DATA=/an/empty/folder` shows at PORT.
pictures: .venv/installed-dev
	$(RUN) -m tests.screenshots http://localhost:$(PORT)

# Bring the .po and .mo files up to what the sources mark for translation: make messages LANGUAGE=fr begins a new language.
messages: .venv/installed-dev
	DJANGO_SETTINGS_MODULE=leukoweb.settings $(RUN) -m tests.catalogue $(LANGUAGE)

# Write requirements.lock anew, from what the declared ranges give today in an environment of its own.
lock:
	@scratch=$$(mktemp -d) && trap 'rm -rf "$$scratch"' EXIT && $(PYTHON) -m venv "$$scratch/venv" \
	 && "$$scratch/venv/bin/pip" install --quiet ".[dev,int8]" \
	 && sed -n '/^#/p' requirements.lock > "$$scratch/lock" \
	 && "$$scratch/venv/bin/pip" list --format freeze --exclude leukoweb --exclude pip | sed 's/+.*//' | sort >> "$$scratch/lock" \
	 && cp "$$scratch/lock" requirements.lock

bench: .venv/installed-dev
	$(RUN) -m detection bench
	$(RUN) -m leukoweb.ops.bench
	$(RUN) -m leukoweb.ops.bench_keys
	$(RUN) -m leukoweb.ops.bench_messages

# Minutes and gigabytes: pages with many cases against few, in a PostgreSQL that is filled first.
bench-size: .venv/installed-dev
	$(RUN) -m leukoweb.ops.bench_size --cases 1000 $(or $(CASES),10000)

# A laboratory at work against the real programs on this machine: make load LOAD="--technologists 5 --minutes 2"
load: .venv/installed-dev
	$(RUN) -m leukoweb.ops.bench_load $(LOAD)

backup: .venv/installed
	LEUKOWEB_DATA_DIR="$(abspath $(DATA))" $(RUN) manage.py backup "$(or $(TO),$(error say where to: make backup TO=/some/folder))"

restore: .venv/installed
	LEUKOWEB_DATA_DIR="$(abspath $(DATA))" $(RUN) manage.py restore "$(or $(FROM),$(error say from where: make restore FROM=/some/folder/backup-... DATA=/empty/folder))"

# The browser libraries, fetched anew at the versions that static/vendor/fetch.sh names.
vendor:
	sh static/vendor/fetch.sh

# The environment is made again when what the product needs has changed; otherwise this costs nothing.
.venv/installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "LeukoWeb needs Python 3.11 or newer: make PYTHON=/path/to/python3.11"; exit 1; }
	@test -x $(RUN) || $(PYTHON) -m venv .venv || { echo "Python cannot make an environment here. On Debian: apt-get install python3-venv"; exit 1; }
	$(RUN) -m pip install --quiet --editable ".[worker]"
	@touch $@

.venv/installed-dev: pyproject.toml .venv/installed
	$(RUN) -m pip install --quiet --editable ".[dev]"
	@touch $@

clean:
	rm -rf .venv site
