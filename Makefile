# The one front door. Each target is a line or two that calls the tool which does the work.
# `make help` lists the targets; README.md says what comes after `make up`.
SHELL := bash
.DEFAULT_GOAL := help
.PHONY: help tools build up down logs status demo token pay trace check fmt clippy docs-check test bench-smoke \
        bench-messaging bench-leases drill-messaging drill-leases topics docs images helm-check deps-check

include deploy/local/ports.env
TARGET := $(or $(CARGO_TARGET_DIR),target)/debug
DEVSTACK := $(TARGET)/devstack
MILLRACE := $(TARGET)/millrace

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

up: tools build ## Start everything, wait until it is ready, print addresses and a first order
	@$(DEVSTACK) up

down: $(DEVSTACK) ## Stop what was started; data stays, unless WIPE=1
	@$(DEVSTACK) down $(if $(filter 1,$(WIPE)),--wipe)

status: $(DEVSTACK) ## Show what runs, its ports and its memory
	@$(DEVSTACK) status

logs: $(DEVSTACK) ## Follow the logs; SERVICE=order for one component
	@$(DEVSTACK) logs $(SERVICE)

demo: build ## Play the order flow against the running stack and check that the ledger balances
	@$(DEVSTACK) demo

token: $(DEVSTACK) ## Print a token; ROLE=admin, SUB=somebody
	@$(DEVSTACK) token $(if $(ROLE),--role $(ROLE)) $(if $(SUB),--sub $(SUB))

pay: $(DEVSTACK) ## Play the payment provider; ORDER=id, FAIL=1, AMOUNT=minor units, SUB=buyer
	@$(DEVSTACK) pay --order "$(ORDER)" $(if $(filter 1,$(FAIL)),--fail) $(if $(AMOUNT),--amount $(AMOUNT)) $(if $(SUB),--sub $(SUB))

trace: $(DEVSTACK) ## Print the span tree of an order or a trace; ID=
	@$(DEVSTACK) trace "$(ID)"

check: fmt clippy docs-check helm-check ## Everything that needs no running server: format, lints, docs, chart

test: tools ## All tests on real PostgreSQL, Redis and Kafka
	@# Everything at once: without the tests the dependencies would have other features, and be built a second time.
	cargo build --workspace --all-targets
	@# Tests wait for servers more than they compute, so more of them than there are cores go at once.
	@RUST_TEST_THREADS=$${RUST_TEST_THREADS:-$$(( ($$(nproc) * 3 + 1) / 2 ))} $(DEVSTACK) with-stack -- cargo test --workspace --no-fail-fast

bench-smoke: tools ## Speed as ratios, on release binaries; ARGS=--json for machines
	cargo build --release --workspace --bins
	@$(or $(CARGO_TARGET_DIR),target)/release/bench-smoke $(ARGS)

bench-messaging: tools ## The messaging crates beside a bare client, as ratios; ARGS=--json for machines
	cargo build --release -p millrace-benches --bin bench-messaging
	@$(or $(CARGO_TARGET_DIR),target)/release/bench-messaging $(ARGS)

bench-leases: tools ## Leases and scheduled tasks beside bare statements, as ratios; ARGS=--json for machines
	cargo build --release -p millrace-benches --bin bench-leases
	@$(or $(CARGO_TARGET_DIR),target)/release/bench-leases $(ARGS)

drill-messaging: tools ## A storm of kills, freezes, joins and leaves, and its verdict; SEED=n replays, SECS=60, ARGS=
	cargo build -p millrace-drills
	@$(TARGET)/messaging-drill storm $(if $(SEED),--seed $(SEED)) --seconds $(or $(SECS),60) $(ARGS)

drill-leases: tools ## Leases and schedules under faults, and the verdict; SEED=n replays, RUNS=2000, ARGS=
	cargo build -p millrace-drills
	@$(TARGET)/lease-drill storm $(if $(SEED),--seed $(SEED)) --runs $(or $(RUNS),2000) $(ARGS)

topics: build ## Compare the local broker's topics with the topic table
	@MILLRACE__KAFKA__BROKERS=127.0.0.1:$(KAFKA_PORT) $(MILLRACE) topics diff --profile local

docs: build ## Write the generated pages under docs/
	@$(MILLRACE) docs

images: ## Build the container images of all services; TAG=dev
	@TAG=$(or $(TAG),dev) bash deploy/images.sh

helm-check: ## Lint, render and strictly check the chart
	@bash deploy/helm-check.sh

deps-check: ## Licences, advisories and duplicate versions of the dependencies (slow, outside CI)
	@command -v cargo-deny >/dev/null || cargo install --locked cargo-deny
	cargo deny check licenses bans sources
	@# The advisory database may be out of reach; that alone fails nothing.
	if cargo deny fetch; then cargo deny check advisories; else echo "the advisory database is out of reach: not checked"; fi

# Parts of the above.
tools:
	@bash deploy/local/tools.sh

build:
	cargo build --workspace

fmt:
	cargo fmt --all --check

clippy:
	cargo clippy --workspace --all-targets -- -D warnings

docs-check:
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items

$(DEVSTACK):
	cargo build -p millrace-testkit
