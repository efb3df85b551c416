# make run            the whole product on http://127.0.0.1:8000
# make demo-pay       the same beside stand-ins for Stripe and chains: cards and coins that are none
# make test           the test suite, on its own PostgreSQL and Redis
# make test-peers     tests that need more: Chromium, node, other clients
# make compatibility  docs/compatibility.md, from a run of every client
# make check          format, lint, types, import contracts, migrations in step
# make audit          what advisories know about the locked packages (asks the network)
# make bench          beside LiteLLM and Portkey, on large data, with idle streams
# make chaos          everything killed and cut off under load, then an audit of the money
# make assets         the stylesheet and scripts (needs node)
# make lock           lock the requirements again
# make messages       the catalogues of translations: what is new to translate, and the compiled files

# platform/ is a folder of import roots, not a package (tests/test_layout.py says why).
export PYTHONPATH := $(CURDIR)/platform

PYTHON ?= python3
HOST ?= 127.0.0.1
PORT ?= 8000
DATA_DIR ?= var
WORKERS ?= 3
# Each with a browser, a chain or a product of its own.
PEER_WORKERS ?= 2
export HOST PORT DATA_DIR

BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes
RUNTIME := .venv/runtime.stamp
EMBEDDED := .venv/embedded.stamp
DEV := .venv/dev.stamp

# With both addresses given nothing embedded is needed.
RUN_NEEDS := $(RUNTIME)
ifeq ($(and $(DATABASE_URL),$(REDIS_URL)),)
RUN_NEEDS += $(EMBEDDED)
endif

.PHONY: run demo-pay test test-peers compatibility check audit bench chaos assets messages lock

run: $(RUN_NEEDS)
	@exec $(BIN)/python -m embedded.run

demo-pay: $(RUN_NEEDS)
	@exec $(BIN)/python -m tests.fakes.pay

test: $(EMBEDDED) $(DEV)
	$(BIN)/pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

test-peers: $(EMBEDDED) $(DEV)
	$(BIN)/pytest tests/peers -n $(PEER_WORKERS) --dist loadfile \
		--override-ini 'addopts=--import-mode=importlib --strict-markers -ra' $(ARGS)

compatibility: $(EMBEDDED) $(DEV)
	$(BIN)/python -m pytest -p tests.conformance.table tests/conformance tests/peers/conformance \
		--override-ini 'addopts=--import-mode=importlib --strict-markers -ra' \
		--deselect tests/conformance/test_table.py $(ARGS)

check: $(EMBEDDED) $(DEV)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	DJANGO_SETTINGS_MODULE=tests.settings $(BIN)/python manage.py makemigrations --check --dry-run

audit: $(DEV)
	$(BIN)/python .ci/audit.py

bench: $(EMBEDDED) $(DEV)
	$(BIN)/python -m tests.bench.run $(ARGS)

chaos: $(EMBEDDED) $(DEV)
	$(BIN)/python -W ignore -m tests.chaos.run $(or $(ARGS),--write)

assets:
	npm ci --ignore-scripts
	npm run build

LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --custom-compile-command 'make lock'
lock: $(DEV)
	$(LOCK) pyproject.toml -o requirements.txt
	$(LOCK) --group embedded -c requirements.txt -o requirements-embedded.txt
	$(LOCK) --group otel -c requirements.txt -o requirements-otel.txt
	$(LOCK) --group dev -c requirements.txt -c requirements-embedded.txt -c requirements-otel.txt \
		-o requirements-dev.txt

messages: $(EMBEDDED) $(DEV)
	$(BIN)/python -m tests.i18n.messages

.venv/bin/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info; (3, 11) <= v < (3, 13) or sys.exit( \
	"Tollgate needs Python 3.11 or 3.12, this is %d.%d: make PYTHON=python3.11 ..." % v[:2])'
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	echo "python3 lacks venv: apt-get install python3-venv" >&2; exit 1; }
	@echo "Creating .venv"
	@$(PYTHON) -m venv .venv

$(RUNTIME): requirements.txt | .venv/bin/python
	@echo "Installing requirements.txt"
	@$(PIP) -r requirements.txt
	@touch $@

$(EMBEDDED): requirements-embedded.txt $(RUNTIME)
	@echo "Installing requirements-embedded.txt"
	@$(PIP) -r requirements-embedded.txt
	@touch $@

$(DEV): requirements-dev.txt $(RUNTIME)
	@echo "Installing requirements-dev.txt"
	@$(PIP) -r requirements-dev.txt
	@touch $@
