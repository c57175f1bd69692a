# Everything a newcomer types. Each target installs what it needs (scripts/setup.sh).
.DEFAULT_GOAL := help
SHELL := /bin/bash

.PHONY: help setup kafka demo demo-fleet test chaos upgrades lint docs bench compare figures load install uninstall deb service image manifests memory headline soak fuzz

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-11s %s\n", $$1, $$2}' Makefile

setup: ## Compilers and libraries that the build needs
	@scripts/setup.sh

kafka: ## A real Kafka on port 9092, to try a fleet with; Ctrl-D ends it
	@scripts/kafka.sh run target/kafka --port 9092

demo: setup ## The story, played with real requests (ONCE=1: play it and exit)
	@cargo build --profile demo --bins
	@ONCE=$(ONCE) scripts/demo.sh target/demo

demo-fleet: setup ## The same through three gateways on a real Kafka, one of them killed (ONCE=1 too)
	@scripts/kafka.sh fetch >/dev/null
	@cargo build --profile demo --bins
	@ONCE=$(ONCE) scripts/demo-fleet.sh target/demo

test: ## All tests
	@scripts/setup.sh tests
	@scripts/kafka.sh fetch >/dev/null
	@cargo test --all-targets

# The gateways are the programs of `make demo`: unoptimised ones cost more than most faults do.
# TOLLGATE_TEST_BIN=target/release takes those of a release build instead, which must be there.
chaos: setup ## 1,000 faults against a fleet on real Kafka, judged by what clients saw (an hour; docs/chaos.md)
	@scripts/kafka.sh fetch >/dev/null
	@test -n "$$TOLLGATE_TEST_BIN" || cargo build --profile demo --bins
	@TOLLGATE_TEST_BIN=$${TOLLGATE_TEST_BIN:-target/demo} CHAOS_SEED=$${CHAOS_SEED:-$$RANDOM} \
		CHAOS_FAULTS=$${CHAOS_FAULTS:-1000} CHAOS_BROKERS=$${CHAOS_BROKERS:-1,3} \
		cargo test --test chaos the_count_is_exact_whatever_happens -- --nocapture

upgrades: setup ## 100 upgrades and 100 restarts behind a socket under load: no request may fail, each use counts once
	@cargo test --test e2e upgrade::a_hundred -- --ignored --nocapture

lint: setup ## Format, lints, licences and sources
	@cargo fmt --check
	@cargo clippy --all-targets -- -D warnings
	@scripts/deny.sh

docs: setup ## Write docs/configuration.md from the types
	@cargo run --quiet --bin tollgate -- reference > docs/configuration.md

bench: setup ## CPU per request against a bare Pingora proxy (docs/performance.md)
	@load-tests/bench.sh

compare: setup ## Next to nginx, HAProxy, Varnish, Envoy and bare Pingora (an hour, machine quiet; docs/performance.md)
	@load-tests/compare.sh

figures: setup ## What counting costs, alone and in a fleet on a real Kafka (docs/performance.md)
	@scripts/kafka.sh fetch >/dev/null
	@TOLLGATE_FIGURES_ACCOUNTS=1000000 cargo test --release --test ledger_figures -- --nocapture
	@TOLLGATE_FIGURES_RECORDS=1000000 cargo test --release --test kafka figures -- --nocapture --test-threads 1
	@cargo test --release --test e2e fleet::figures -- --ignored --nocapture --test-threads 1

load: setup ## k6: the short load tests over one gateway and a fleet of three (TESTS="stress soak"; load-tests/README.md)
	@load-tests/run.sh $(TESTS)

install: setup ## The program as a systemd service on this machine (root; PREFIX, DESTDIR)
	@cargo build --release --locked --bin tollgate
	@scripts/install.sh install target/release

uninstall: ## Takes it away; configuration, state and logs stay
	@scripts/install.sh uninstall

deb: setup ## The same as a Debian package
	@cargo build --release --locked --bin tollgate
	@scripts/deb.sh target/release

service: setup ## The unit in a real systemd: start, reload, watchdog, crash, stop (root; boots a container)
	@cargo build --profile demo --bin tollgate
	@scripts/systemd.sh target/demo

image: ## The image by buildah, and what it must do as a container (root; docs/operations.md)
	@scripts/image.sh

manifests: ## The Kubernetes and compose examples against their schemas
	@scripts/manifests.sh

memory: setup ## What memory goes to: connections, kept answers, accounts, routes (docs/performance.md)
	@load-tests/memory.sh

headline: setup ## Cached reads a minute on the whole machine, and a cached read against a cold one (docs/performance.md)
	@load-tests/headline.sh

soak: setup ## Twenty minutes of load with reloads, purges and changing endpoints: memory must stay as it is
	@load-tests/soak.sh

fuzz: setup ## A short run of every fuzz target
	@fuzz/run.sh
