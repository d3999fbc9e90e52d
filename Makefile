# The entry points. `make` lists them.
SHELL := /bin/bash
CARGO ?= cargo
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)

TARGET := $(or $(CARGO_TARGET_DIR),$(CURDIR)/target)

# Symbols and lines, and otherwise the release build.
PROFILE_BUILD := CARGO_PROFILE_RELEASE_DEBUG=line-tables-only CARGO_PROFILE_RELEASE_STRIP=none

.PHONY: help deps build up down test test-unit test-e2e test-vm lint fmt bench bench-alone profile

help: ## list what make can do
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## (.*)/  make \1\t\2/' | column -t -s "$$(printf '\t')"

deps: ## install what is missing from the distribution (says what)
	@$(SUDO) hack/deps.sh run

build: ## build the release binary
	@hack/deps.sh build || $(SUDO) hack/deps.sh build --install
	$(CARGO) build --release --bin skiff

up: deps build ## one command to a working cluster
	@$(SUDO) --preserve-env=KUBECONFIG,HOME true 2>/dev/null; $(SUDO) "$(TARGET)/release/skiff" up $(ARGS)

down: ## stop the cluster (ARGS=--purge leaves nothing)
	@$(SUDO) "$(TARGET)/release/skiff" down $(ARGS)

test: test-unit test-e2e ## every test, unit to end-to-end

test-unit: ## tests of the crates
	@$(SUDO) hack/deps.sh test --install
	$(CARGO) test --workspace --no-fail-fast

test-e2e: ## real labs: namespaces, containerd, stock kubectl (root)
	@$(SUDO) hack/deps.sh test --install
	$(CARGO) build --workspace --bins
	@hack/kubectl.sh
	$(SUDO) env "PATH=$$PATH" SKIFF_BINARY="$(TARGET)/debug/skiff" $(CARGO) test --workspace --no-fail-fast --test single_node --test two_nodes

test-vm: ## a Debian machine in emulation: cgroup v2, limits, a power cut (slow)
	@$(SUDO) hack/deps.sh vm --install
	$(CARGO) build --release --bin skiff
	@hack/kubectl.sh
	$(SUDO) hack/vm.sh test

lint: ## rustfmt, clippy with warnings as errors, the rules of the repository
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --test single_node --test two_nodes -- -D warnings
	$(CARGO) test -q --workspace --test tidy

fmt: ## format
	$(CARGO) fmt --all

bench: ## Skiff beside stock Kubernetes, in turn (SIZE=quick|default|long PARTS=api,scheduler,proxy,node STOCK_BIN=directory RECORD=1)
	@hack/deps.sh bench || $(SUDO) hack/deps.sh bench --install
	$(CARGO) build --release --bin skiff --bin bench
	@[ -n "$$STOCK_BIN" ] || e2e/conformance/build.sh stock
	$(SUDO) env "PATH=$$PATH" "STOCK_BIN=$$STOCK_BIN" "ETCD=$$ETCD" "CNI_BIN=$$CNI_BIN" "RECORD=$(RECORD)" \
	  hack/bench.sh compare $(if $(SIZE),--size $(SIZE)) $(if $(PARTS),--parts $(PARTS))

bench-alone: ## Skiff alone: starts, idling, pods beside the bare runtime
	$(CARGO) build --release --bin skiff --bin bench
	$(SUDO) hack/bench.sh alone

profile: ## where Skiff's time and memory go (WHAT=api|scheduler|proxy|node or a pid; SIZE=quick|default|long)
	@hack/deps.sh profile || $(SUDO) hack/deps.sh profile --install
	@mkdir -p target/profile
	$(PROFILE_BUILD) $(CARGO) build --release --bin skiff --features skiff/heap-profile
	@cp "$(TARGET)/release/skiff" target/profile/skiff
	$(PROFILE_BUILD) $(CARGO) build --release --bin skiff --bin bench
	$(SUDO) env "PATH=$$PATH" "CARGO_TARGET_DIR=$(TARGET)" "ETCD=$$ETCD" "CNI_BIN=$$CNI_BIN" hack/profile.sh $(or $(WHAT),api) $(if $(SIZE),--size $(SIZE))

.PHONY: beside
beside: ## the same odd requests to Skiff's API server and to upstream's, and where the answers differ (MODE=create|write|read)
	@hack/deps.sh bench || $(SUDO) hack/deps.sh bench --install
	$(CARGO) build --release --bin skiff
	$(SUDO) env "PATH=$$PATH" "CARGO_TARGET_DIR=$(TARGET)" hack/beside/run.sh $(or $(MODE),create)

.PHONY: conformance conformance-ci
conformance: ## the upstream suite in a lab (FOCUS=regex SKIP=regex PROCS=n NODES=n; KUBECONFIG=file for another cluster)
	@hack/deps.sh conformance || $(SUDO) hack/deps.sh conformance --install
	@[ -n "$$KUBECONFIG" ] || [ -n "$$SKIFF_BINARY" ] || $(CARGO) build --release --bin skiff
	$(if $(KUBECONFIG),,$(SUDO) env "PATH=$$PATH" "GOPATH=$$(go env GOPATH)" "GOCACHE=$$(go env GOCACHE)" \
	  FOCUS='$(FOCUS)' SKIP='$(SKIP)' PROCS='$(PROCS)' NODES='$(NODES)' TESTS='$(TESTS)' RECORD='$(RECORD)' KEEP='$(KEEP)' \
	  SKIFF_BINARY="$$SKIFF_BINARY" )e2e/conformance/run.sh

conformance-ci: ## the tests of the suite that must always pass
	@$(MAKE) --no-print-directory conformance TESTS=e2e/conformance/ci.txt PROCS=8
