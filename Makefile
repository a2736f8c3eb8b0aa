# Every target works on a fresh Debian 12 or 13 as root, and installs what it needs.

# The distribution's Python: it has the distribution's cryptography, keyutils and systemd modules.
PYTHON ?= /usr/bin/python3
VENV := .venv
READY := $(VENV)/ready
FUZZER := $(VENV)/fuzzer
KERNEL ?= debian13
DESTDIR ?=
ROOT := $(abspath $(DESTDIR))

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help setup packages test lint unit budget fuzz kernel boot demo attacks bench guest install clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(READY) ## packages of the system, and .venv with the tools
	@echo "setup: using $(VENV)"

packages:
	@$(PYTHON) -m tests.guest.packages setup

$(READY): pyproject.toml | packages
	@echo "setup: making $(VENV), for pyproject.toml is new"
	@$(PYTHON) -m venv --system-site-packages $(VENV)
	@$(VENV)/bin/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

$(FUZZER): $(READY)
	@echo "setup: adding the fuzzer to $(VENV)"
	@$(VENV)/bin/pip install --quiet --disable-pip-version-check --editable '.[dev,fuzz]' \
		|| { echo "setup: no fuzzer for this Python; other tests: make lint unit kernel boot" >&2; exit 1; }
	@touch $@

test: lint unit budget kernel boot ## everything: lint, unit, budget, kernel (KERNEL=), boot

lint: setup ## ruff, mypy and shellcheck
	@echo "lint: ruff, mypy, shellcheck"
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy
	@git ls-files -z | xargs -0 awk 'FNR == 1 && /^#!.*sh$$/ { print FILENAME } { nextfile }' \
		| xargs shellcheck

unit: setup ## tests that need no privilege
	@echo "unit: pytest on this machine"
	@$(VENV)/bin/pytest -m unit --numprocesses auto $(ARGS)

budget: setup $(FUZZER) ## coverage-guided fuzzing, a fixed number of runs
	@echo "budget: atheris on this machine"
	@$(VENV)/bin/python -m tests.fuzz --budget $(ARGS)

fuzz: setup $(FUZZER) ## the same for ten minutes (ARGS="--target X --seconds N --input FILE")
	@$(VENV)/bin/python -m tests.fuzz $(ARGS)

kernel: setup ## tests on a real kernel, in the guest (KERNEL=debian13|debian12|backports)
	@echo "kernel: pytest in two guests"
	@$(PYTHON) -m tests.guest.tier --kernel $(KERNEL) $(ARGS)

boot: setup ## tests that boot a whole appliance
	@echo "boot: pytest on this machine, with appliances in virtual machines"
	@$(VENV)/bin/pytest -m boot $(ARGS)

demo: setup ## build, break and boot an appliance
	@$(VENV)/bin/python -m tests.boot.demo $(ARGS)

attacks: setup ## write tests/ATTACKS.md from the table of attacks
	@$(VENV)/bin/python -m tests.boot.attacks_doc

bench: setup ## what digests, checks and the launcher cost
	@$(VENV)/bin/python -m tests.bench $(ARGS)

# make turns every failure into its own status 2. `python -m tests.guest` keeps the script's status.
guest: ## run SCRIPT= (with ARGS=) as root in the guest; without it a shell (KERNEL=, TIMEOUT=)
	@$(PYTHON) -m tests.guest --kernel $(KERNEL) $(if $(TIMEOUT),--timeout $(TIMEOUT)) \
		$(SCRIPT) $(ARGS)

# A module that a newer version no longer has must not stay behind, hence the rm.
# Bytecode fits one version of Python only: it is made by the target's, where there is one. A
# package's build root has none; there the distribution's own tools do what the last step does.
install: ## install the project, below DESTDIR=
	@echo "install: into $(ROOT)/"
	@rm -rf '$(ROOT)/usr/lib/veriseal/veriseal'
	@install -d '$(ROOT)/usr/bin' '$(ROOT)/usr/lib/veriseal'
	@tar -C src --exclude=__pycache__ --mode=u=rwX,go=rX -cf - veriseal \
		| tar -C '$(ROOT)/usr/lib/veriseal' --no-same-owner -xf -
	@printf '%s\n' '#!/usr/bin/python3 -IS' \
		'import sys' '' \
		'sys.path.insert(0, "/usr/lib/veriseal")' '' \
		'from veriseal.__main__ import main' '' \
		'sys.exit(main())' >'$(ROOT)/usr/bin/veriseal'
	@chmod 755 '$(ROOT)/usr/bin/veriseal'
	@put() { \
		to=$$1; shift; \
		for file; do [ ! -f "$$file" ] || install -D -m "$$mode" -t '$(ROOT)/usr'"/$$to" "$$file"; done; \
	}; \
	mode=644; \
	put lib/systemd/system units/*.service; \
	put lib/systemd/catalog units/*.catalog; \
	put share/man/man1 src/man/*.1; \
	mode=755; \
	put lib/dracut/modules.d/90veriseal dracut/90veriseal/*; \
	put lib/kernel/install.d dracut/*.install
	@if [ -x '$(ROOT)/usr/bin/python3' ] && [ "$$(id -u)" = 0 ]; then \
		chroot '$(ROOT)/' /usr/bin/python3 -m compileall -q \
			--invalidation-mode unchecked-hash /usr/lib/veriseal \
		&& chroot '$(ROOT)/' journalctl --update-catalog; \
	fi

clean: ## remove everything that was built
	rm -rf build $(VENV) src/*.egg-info
