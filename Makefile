# Every target makes the virtual environment that it needs.
#   make demo    see a network learn a real sensor stream, in about a minute
#   make test    the test suite        make check   linter and type checker
#   make test-slow   longer sweeps of what the suite samples
#   make bench   what it costs and learns, beside named peers
#   make test-device   the log repeated in JavaScript; make test-kserve   KServe's own client
#   make test-node-red   the Node-RED flow, run by Node-RED
#   make fuzz    requests that nobody should send, by the thousand
#   make test-observability, make test-dockerfile   what surrounds it; see docs/deployment.md
# TORCH_INDEX: an index of CPU wheels for torch, where PyPI's (with CUDA) is not wanted.
PYTHON ?= python3
TORCH_INDEX ?=
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
       $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))

.PHONY: install install-dev demo test test-slow check
install: $(VENV)/.installed-learner
install-dev: $(VENV)/.installed-dev

$(VENV)/.installed-%: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) --editable '.[$*]'
	touch $@

demo: $(VENV)/.installed-demo
	$(BIN)/apical demo

# Two workers, a file to one of them: fixtures of a module are made once.
test: install-dev
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

test-slow: install-dev
	$(BIN)/python -m pytest -m slow

check: install-dev
	$(BIN)/ruff check .
	$(BIN)/mypy

# The figures that docs and closing notes quote, into out-*.json. Peers get environments of their own
# under .peers; wrk is installed where it is missing, which needs root. An hour or more.
.PHONY: bench
bench: install-dev
	command -v wrk || { apt-get update && apt-get install --yes --no-install-recommends wrk; }
	$(BIN)/python -m benchmarks.updates --json out-updates.json
	$(BIN)/python -m benchmarks.latency --json out-latency.json
	$(BIN)/python -m benchmarks.scale --json out-scale.json
	$(BIN)/python -m benchmarks.portability --json out-portability.json
	$(BIN)/python -m benchmarks.sizing --json out-sizing.json
	$(BIN)/python -m benchmarks.streams --json out-streams.json

# The example in JavaScript, with npm's onnxruntime-web; needs node and npm.
.PHONY: test-device
test-device: install-dev
	npm install --prefix .npm --no-save --no-audit --no-fund onnxruntime-web@1.30.0
	APICAL_NPM=$(CURDIR)/.npm $(BIN)/python -m pytest tests/clients/node_device.py

# The flow, by npm's Node-RED, between mosquitto and a learner. Where mosquitto is missing this
# installs Debian's, which needs root; its service, where systemd starts it, is not used.
.PHONY: test-node-red
test-node-red: install-dev
	command -v mosquitto || test -x /usr/sbin/mosquitto || { apt-get update && \
	  DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends mosquitto; }
	npm install --prefix .npm --no-save --no-audit --no-fund node-red@4.1.15
	APICAL_NPM=$(CURDIR)/.npm $(BIN)/python -m pytest tests/clients/node_red.py

# KServe's client in an environment of its own under .peers.
.PHONY: test-kserve
test-kserve: install-dev
	$(BIN)/python -m pytest tests/inference/kserve_client.py

# Requests that nobody should send, by the thousand; ten minutes.
.PHONY: fuzz
fuzz: install-dev
	$(BIN)/python -m benchmarks.fuzz --json out-fuzz.json

# A real Prometheus and Alertmanager watch a real learner. Where they are missing this installs
# Debian's, which needs root; its services, where systemd starts them, are not used.
.PHONY: test-observability test-dockerfile
test-observability: install-dev
	command -v prometheus && command -v promtool && command -v prometheus-alertmanager || { \
	  apt-get update && DEBIAN_FRONTEND=noninteractive \
	  apt-get install --yes --no-install-recommends prometheus prometheus-alertmanager; }
	$(BIN)/python -m pytest tests/deploy/test_alerts.py tests/observability/watched_run.py

# The Dockerfile's very steps in an empty directory, without a container engine; needs root, and
# takes some minutes.
test-dockerfile: install-dev
	TORCH_INDEX=$(TORCH_INDEX) $(BIN)/python -m pytest tests/deploy/dockerfile_steps.py
