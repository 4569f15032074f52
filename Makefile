.DEFAULT_GOAL := help
.PHONY: help test format lint unit explore crds reference cluster smoke

help: ## Say what can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | column -t -s "$$(printf '\t')"

test: ## Run everything that decides whether a change is good, with a time for each part
	@tools/timed format $(MAKE) --no-print-directory format
	@tools/timed lint $(MAKE) --no-print-directory lint
	@tools/timed unit $(MAKE) --no-print-directory unit

format: ## Check the formatting
	cargo fmt --all --check

lint: ## Run clippy; warnings are errors
	cargo clippy --locked --workspace --all-targets -- -D warnings

unit: ## Run the unit, table and property tests
	cargo test --locked --workspace --lib --bins

explore: ## Explore a million schedules of the core instead of thirty thousand; takes minutes
	EXPLORE_SCHEDULES=1000000 cargo test --locked --lib lifecycle::model::random::the_protocol

crds: ## Generate crds/ from the Rust types
	cargo run --locked --quiet -- crds --output-dir crds

reference: ## Generate docs/reference/ from the code
	cargo run --locked --quiet -- reference --output-dir docs/reference

cluster: ## Start a real control plane with the CRDs and keep it up until Ctrl-C; the first run builds it (9 minutes)
	cargo run --locked --quiet -p keeptrusts-harness --bin keeptrusts-cluster -- up --crds crds

smoke: ## Try the harness itself on a real control plane; not part of `make test` yet
	cargo test --locked -p keeptrusts-harness --test smoke
