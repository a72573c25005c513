# Every target sets up what it needs: a fresh machine has to offer Python 3.11 or newer and GNU make.
# Arguments for the program behind a target go into ARGS: make demo ARGS="--port 9000".

ifeq ($(filter oneshell,$(.FEATURES)),)
$(error This Makefile needs GNU make 3.82 or newer; on macOS: brew install make, then gmake)
endif

SHELL := /bin/sh
.SHELLFLAGS := -euc
.ONESHELL:
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# The first interpreter that is new enough; PYTHON=/some/python chooses another.
PYTHON ?= $(shell for each in python3 python3.14 python3.13 python3.12 python3.11; do \
	"$$each" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$each" && break; done)

ARGS ?=
VENV := .venv
PY := $(VENV)/bin/python
RUNTIME := $(VENV)/runtime.stamp
DEV := $(VENV)/dev.stamp
MUTATION := $(VENV)/mutation
PIP := $(PY) -m pip --disable-pip-version-check --quiet

.PHONY: help demo test test-faults check fix bench simulate mutation coverage wheel-test wheel-check system clean

help: ## List the targets
	@bold=; plain=
	if [ -t 1 ]; then bold=$$(printf '\033[1;36m'); plain=$$(printf '\033[0m'); fi
	awk -v bold="$$bold" -v plain="$$plain" -F ':.*## ' \
		'/^[a-z-]+:.*## / { printf "%s%-12s%s %s\n", bold, $$1, plain, $$2 }' $(firstword $(MAKEFILE_LIST))

# What the library needs, with the clients of the brokers that the demo can run on.
$(RUNTIME): pyproject.toml
	@if [ -z "$(PYTHON)" ] || ! "$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
		found=$$("$(or $(PYTHON),python3)" --version 2>/dev/null || echo "none as $(or $(PYTHON),python3)")
		echo "Entity Sync needs Python 3.11 or newer; found $$found." >&2
		echo "Install one, or name it: make PYTHON=/path/to/python3.12 ..." >&2
		exit 1
	fi
	if ! "$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null; then
		echo "$(PYTHON) cannot make virtual environments: a part of it is packaged separately here." >&2
		echo "On Debian and Ubuntu: apt-get install python3-venv" >&2
		exit 1
	fi
	[ -x $(PY) ] || { echo "Making $(VENV) with $$("$(PYTHON)" --version)"; "$(PYTHON)" -m venv $(VENV); }
	$(PIP) install --editable '.[nats,postgresql,redis]'
	touch $@

# What development and the tests need, by exact version, on top.
$(DEV): $(RUNTIME) requirements/dev.txt
	@echo "Installing requirements/dev.txt"
	$(PIP) install --requirement requirements/dev.txt --editable .
	touch $@

demo: $(RUNTIME) ## Run the demonstration
	@$(VENV)/bin/entity-sync demo $(ARGS)

# Every test once: the quick ones against the wheel, and then the others. With ARGS only the named tests run.
QUICK := not slow and not source and not needs
test: $(DEV) ## Run all tests, or those that ARGS chooses
	@$(if $(strip $(ARGS)),exec $(PY) -m pytest $(ARGS))
	$(MAKE) wheel-check
	$(PY) -m pytest -m "not ($(QUICK))"

# `coverage run` and not a pytest plugin: our own pytest plugin imports the library before any other could
# start counting.
coverage: $(DEV) ## Run all tests and show which lines and branches they miss
	@$(PY) -m coverage run -m pytest
	$(PY) -m coverage report

check: $(DEV) ## Check format, lint and types
	@$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(VENV)/bin/pyright --pythonpath $(PY)

fix: $(DEV) ## Format the code, repair what the linter can, write docs/reference.md
	@$(VENV)/bin/ruff check --fix --exit-zero --quiet .
	$(VENV)/bin/ruff format .
	$(PY) -m tests.reference
	$(VENV)/bin/ruff check .

bench: $(DEV) ## Run the benchmarks
	@$(PY) -m benchmarks $(ARGS)

test-faults: $(DEV) ## Put the brokers' real servers through minutes of outages
	@$(PY) -m tests.faults $(ARGS)

simulate: $(DEV) ## Simulate nodes, clients and faults under a virtual clock
	@$(PY) -m tests.simulation $(ARGS)

$(MUTATION)/stamp: $(DEV) requirements/mutation.txt
	@echo "Installing requirements/mutation.txt"
	rm -rf $(MUTATION)
	$(PIP) install --no-deps --target $(MUTATION) --requirement requirements/mutation.txt
	touch $@

mutation: $(MUTATION)/stamp ## Change the core and the hub in small ways, and see whether a test notices
	@PYTHONPATH=$(MUTATION) $(PY) -m tests.mutation $(ARGS)

# Build the wheel and copy the tree without src to $$tmp: whatever is imported there comes from the wheel.
define build_wheel
tmp=$$(mktemp -d)
trap 'rm -rf "$$tmp"' EXIT
$(PY) -m build --wheel --no-isolation --outdir "$$tmp" . >"$$tmp/build.log" 2>&1 || { cat "$$tmp/build.log"; exit 1; }
mkdir "$$tmp/tree"
tar -cf "$$tmp/tree.tar" --exclude=./src --exclude=./.git --exclude=./$(VENV) --exclude=node_modules .
tar -xf "$$tmp/tree.tar" -C "$$tmp/tree"
installed=$$tmp/venv/lib/$$($(PY) -c 'import sys; print("python%d.%d" % sys.version_info[:2])')/site-packages
endef

# Prove that the wheel holds every file of the package and is what gets imported, then run tests against it.
define test_wheel
diff -r -x __pycache__ src/entity_sync "$$installed/entity_sync"
cd "$$tmp/tree"
unset PYTHONPATH
PATH=$$tmp/venv/bin:$$PATH
found=$$(python -c 'import entity_sync; print(entity_sync.__path__[0])')
if ! [ "$$found" -ef "$$installed/entity_sync" ]; then
	echo "entity_sync was imported from $$found, not from the wheel" >&2
	exit 1
fi
echo "Testing the wheel, installed in $$installed"
endef

# The quick form: it borrows the dependencies of $(VENV), whose editable install a .pth file does not follow.
# The quick tests are also those that must cover the core.
wheel-check: $(DEV)
	@$(build_wheel)
	$(PY) -m venv --without-pip "$$tmp/venv"
	$(PIP) --python "$$tmp/venv/bin/python" install --no-index --no-deps "$$tmp"/*.whl
	$(PY) -c 'import sysconfig; print(sysconfig.get_path("purelib"))' >"$$installed/dependencies.pth"
	$(test_wheel)
	python -m coverage run -m pytest -q -r fE -p no:cacheprovider -m "$(QUICK)"
	python -m coverage report --include='*/entity_sync/core/*' --fail-under=100 >core-coverage.txt || {
		cat core-coverage.txt
		echo "The branches of src/entity_sync/core must be covered in full." >&2
		exit 1
	}

wheel-test: $(DEV) ## Run the tests against the built wheel in an environment of its own
	@$(build_wheel)
	$(PY) -m venv "$$tmp/venv"
	"$$tmp/venv/bin/python" -m pip --disable-pip-version-check --quiet install \
		--requirement requirements/dev.txt "$$tmp"/*.whl
	$(test_wheel)
	python -m pytest -p no:cacheprovider -m "not source" $(ARGS)

# What is missing, program by program. nsqd is in no distribution: it is built with Go, into ~/go/bin.
system: ## Install the system's programs that some tests run: brokers, Chromium and sqlite3
	@missing=
	need() { # package, then the programs of which one is enough
		package=$$1; shift
		for each; do
			if command -v $$each >/dev/null; then return; fi
		done
		missing="$$missing $$package"
	}
	PATH=$$PATH:/usr/sbin:/usr/local/go/bin
	need chromium chromium google-chrome
	need sqlite3 sqlite3
	need nats-server nats-server
	need redis-server redis-server
	need go go
	if ! command -v postgres >/dev/null && ! ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1; then
		missing="$$missing postgresql"
	fi
	if [ -n "$$missing" ]; then
		echo "Installing:$$missing"
		$(MAKE) system-packages MISSING="$$missing"
	fi
	if ! PATH=$$PATH:$$HOME/go/bin command -v nsqd >/dev/null || ! PATH=$$PATH:$$HOME/go/bin command -v nsqlookupd >/dev/null; then
		echo "Building nsqd and nsqlookupd into $$HOME/go/bin"
		cd tests/support/nsqd
		GOBIN=$$HOME/go/bin go install github.com/nsqio/nsq/apps/nsqd github.com/nsqio/nsq/apps/nsqlookupd
	fi
	echo "Every program that the tests run is installed."

.PHONY: system-packages
system-packages:
	@root=; if [ "$$(id -u)" != 0 ]; then root=sudo; fi
	manager=
	for each in apt-get dnf pacman brew; do
		if command -v $$each >/dev/null; then manager=$$each; break; fi
	done
	names=" $(MISSING) "
	rename() { names=$$(echo "$$names" | sed "s, $$1 , $$2 ,"); }
	case "$$manager" in
		apt-get) rename chromium "chromium chromium-sandbox fonts-liberation"
		         rename go golang-go
		         $$root apt-get update -q
		         $$root env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends $$names ;;
		dnf)     rename sqlite3 sqlite; rename go golang; rename redis-server redis; rename postgresql postgresql-server
		         $$root dnf install -qy $$names ;;
		pacman)  rename sqlite3 sqlite; rename redis-server valkey
		         $$root pacman -Sy --needed --noconfirm $$names ;;
		brew)    rename sqlite3 sqlite; rename redis-server redis
		         case "$$names" in *" chromium "*) brew install --cask google-chrome; rename chromium "" ;; esac
		         brew install $$names ;;
		*)       echo "None of apt-get, dnf, pacman and brew is here: install by hand:$$names" >&2
		         exit 1 ;;
	esac

clean: ## Remove everything that the other targets made
	@rm -rf $(VENV) build dist .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find src tests benchmarks examples -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
