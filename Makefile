# `make demo`, `make test`, `make check` and `make bench` need make and Python 3.11 or later, nothing else.
#
# `make bench` measures eventbus beside the floor and beside its peers, which it installs into an environment of its
# own (.venv-bench); `make bench-quick` does so in less than two minutes. docs/performance.md explains the figures.
#
# The first of them sets up .venv: with uv where it is installed, otherwise with venv and pip. A change of
# pyproject.toml refreshes it, and a tree that was moved or copied gets its own. PYTHON=... chooses the interpreter
# for the first time or after `make clean`.

PYTHONS = $(PYTHON) python3 python3.13 python3.12 python3.11
IN_VENV = .venv/bin/python

# What is installed is noted in .venv together with the folder it was installed for.
ifneq "$(shell cat .venv/folder 2>/dev/null)" "$(CURDIR)"
.PHONY: .venv/with-app
endif

.PHONY: demo test soak check bench bench-quick clean

demo: .venv/with-app
	$(IN_VENV) -m eventbus demo

test: .venv/with-dev
	$(IN_VENV) -m pytest

# The long form of every proof; docs/reliability.md has the figures of a run. `make soak TIER=power` for one of them.
TIER = all
soak: .venv/with-dev
	$(IN_VENV) -m tests.reliability --tier $(TIER) --long

check: .venv/with-dev
	$(IN_VENV) -m ruff check .
	$(IN_VENV) -m ruff format --check .
	$(IN_VENV) -m mypy
	$(IN_VENV) -m pyright --pythonpath $(IN_VENV)
	$(IN_VENV) -m pytest -q tests/test_house.py

bench: .venv/with-app
	@$(IN_VENV) -m benchmarks.environment $(ARGS)

bench-quick: .venv/with-app
	@$(IN_VENV) -m benchmarks.environment --quick $(ARGS)

clean:
	rm -rf .venv .venv-bench build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Finds an interpreter by running it: a name alone may be a stub, or too old. uv can also fetch one.
.venv/with-app: pyproject.toml
	@fits='import sys; sys.exit(sys.version_info < (3, 11) or sys.implementation.name != "cpython")'; \
	for candidate in $(PYTHONS); do \
	    if "$$candidate" -c "$$fits" 2>/dev/null; then python="$$candidate"; break; fi; \
	done; \
	if [ "$$(cat .venv/folder 2>/dev/null)" = "$(CURDIR)" ] && $(IN_VENV) -c "$$fits" 2>/dev/null; then \
	    echo "Refreshing .venv ..."; \
	else \
	    rm -rf .venv; \
	    if command -v uv >/dev/null && uv venv --quiet --seed --python "$${python:-3.11}" .venv; then \
	        echo "Made .venv with uv."; \
	    elif [ -z "$$python" ]; then \
	        echo "eventbus needs CPython 3.11 or later; none of these is one: $(PYTHONS)." >&2; \
	        echo "Install one, or name it: make PYTHON=/path/to/python" >&2; exit 1; \
	    elif "$$python" -m venv .venv; then \
	        echo "Made .venv with $$python."; \
	    else \
	        rm -rf .venv; echo "$$python cannot make a virtual environment (on Debian: apt install python3-venv)." >&2; exit 1; \
	    fi; \
	fi
	@$(call install,.)
	@echo "$(CURDIR)" > .venv/folder
	@touch $@

.venv/with-dev: .venv/with-app
	@$(call install,.[dev])
	@touch $@

# uv may be there and not reach the index that pip is configured for, so pip has the last word.
define install
if command -v uv >/dev/null && uv pip install --quiet --python $(IN_VENV) -e '$(1)'; then :; \
else $(IN_VENV) -m pip install --quiet --disable-pip-version-check -e '$(1)'; fi
endef
