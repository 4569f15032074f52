.DEFAULT_GOAL := help
.PHONY: help demo test cluster format lint unit harness chart chart-in-cluster integration kstatus programs explore crds reference

# The programs of the control plane, helm among them, as the harness finds or builds them.
PROGRAM = $$(cargo run --locked --quiet --package keeptrusts-harness --bin keeptrusts-cluster -- binaries | sed -n 's/^$(1)\t//p')

help: ## Say what can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | column -t -s "$$(printf '\t')"

demo: ## Show the whole life of both kinds of key on a real control plane; DEMO_KUBECONFIG=FILE takes your cluster instead
	@cargo build --locked --package keeptrusts-operator --package keeptrusts-demo
	@target/debug/keeptrusts-demo --operator target/debug/keeptrusts-operator

cluster: ## Start a real control plane with the CRDs and keep it up until Ctrl-C; the first run builds its programs
	cargo run --locked --quiet --package keeptrusts-harness --bin keeptrusts-cluster -- up --crds crds

test: ## Run everything that decides whether a change is good, with a time for each part
	@tools/timed format $(MAKE) --no-print-directory format
	@tools/timed lint $(MAKE) --no-print-directory lint
	@tools/timed unit $(MAKE) --no-print-directory unit
	@tools/timed programs $(MAKE) --no-print-directory programs
	@tools/timed kstatus $(MAKE) --no-print-directory kstatus
	@tools/timed harness $(MAKE) --no-print-directory harness
	@tools/timed chart $(MAKE) --no-print-directory chart
	@tools/timed chart-in-cluster $(MAKE) --no-print-directory chart-in-cluster
	@tools/timed integration $(MAKE) --no-print-directory integration
	@tools/timed demo $(MAKE) --no-print-directory demo </dev/null

format: ## Check the formatting
	cargo fmt --all --check

lint: ## Run clippy; warnings are errors
	cargo clippy --locked --workspace --all-targets -- -D warnings

unit: ## Run the unit, table and property tests; generated files are checked for drift here
	cargo test --locked --workspace --lib --bins
	cargo test --locked --package keeptrusts-emulator --tests

programs: ## Find or build the control plane's programs
	@cargo run --locked --quiet --package keeptrusts-harness --bin keeptrusts-cluster -- binaries

kstatus: ## Build what tells how kstatus reads a resource
	cd tests/kstatus && CGO_ENABLED=0 go build -trimpath -o ../../target/kstatus . && go vet . && go test .

harness: ## Try the harness itself on a real control plane
	cargo test --locked --package keeptrusts-harness --test smoke

chart: ## Lint and render the chart
	@HELM=$(call PROGRAM,helm) tools/chart-check

chart-in-cluster: ## Install, upgrade and uninstall the chart by helm on a real control plane
	@tools/in-cluster tools/chart-cluster-check

integration: ## Run the built operator on a real control plane against the emulator
	cargo test --locked --test integration -- --test-threads 4

explore: ## Explore a million schedules of the core instead of thirty thousand; takes minutes
	EXPLORE_SCHEDULES=1000000 cargo test --locked --lib lifecycle::model::random::the_protocol

crds: ## Generate crds/ from the Rust types, and the chart's copy
	cargo run --locked --quiet -- crds --output-dir crds
	tools/chart-check --update

reference: ## Generate the reference part of docs/ from the code
	cargo run --locked --quiet -- reference --output-dir docs
