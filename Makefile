.DEFAULT_GOAL := help
.PHONY: help demo test cluster format lint unit fuzz harness chart alerts chart-in-cluster integration chaos chaos-short rotations kstatus argocd examples image image-lint programs explore crds chart-docs reference proof bench bench-smoke bench-table

# Always the whole workspace: a selection of packages has features of its own, and every dependency would be compiled again for it.
BUILD ?= cargo build --locked --workspace --bins
# In `make test` what tests add to the features is there from the start, for the same reason.
BUILD_ALL = cargo build --locked --workspace --all-targets
TEST = cargo test --locked --workspace
CLUSTER = target/debug/keeptrusts-cluster

help: ## Say what can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | column -t -s "$$(printf '\t')"

demo: ## Show the whole life of both kinds of key on a real control plane; DEMO_KUBECONFIG=FILE takes your cluster instead
	@$(BUILD)
	@target/debug/keeptrusts-demo --operator target/debug/keeptrusts-operator

cluster: ## Start a real control plane with the CRDs and keep it up until Ctrl-C; the first run builds its programs
	@$(BUILD)
	$(CLUSTER) up --crds crds

test: export BUILD = $(BUILD_ALL)
test: ## Run everything that decides whether a change is good, with a time for each part
	@tools/timed format $(MAKE) --no-print-directory format
	@tools/timed image-lint $(MAKE) --no-print-directory image-lint
	@tools/timed lint $(MAKE) --no-print-directory lint
	@tools/timed build $(BUILD_ALL)
	@tools/timed unit $(MAKE) --no-print-directory unit
	@FUZZ_SECONDS=20 tools/timed fuzz $(MAKE) --no-print-directory fuzz
	@tools/timed programs $(MAKE) --no-print-directory programs
	@tools/timed harness $(MAKE) --no-print-directory harness
	@tools/timed chart $(MAKE) --no-print-directory chart
	@tools/timed alerts $(MAKE) --no-print-directory alerts
	@tools/timed chart-in-cluster $(MAKE) --no-print-directory chart-in-cluster
	@tools/timed examples $(MAKE) --no-print-directory examples
	@tools/timed integration $(MAKE) --no-print-directory integration
	@tools/timed chaos $(MAKE) --no-print-directory chaos-short
	@tools/timed bench-smoke $(MAKE) --no-print-directory bench-smoke
	@tools/timed demo $(MAKE) --no-print-directory demo </dev/null

format: ## Check the formatting
	cargo fmt --all --check
	cargo fmt --manifest-path fuzz/Cargo.toml --check

lint: ## Run clippy; warnings are errors
	cargo clippy --locked --workspace --all-targets -- -D warnings
	cargo clippy --locked --workspace --no-default-features -- -D warnings

unit: ## Run the unit, table and property tests; generated files are checked for drift here
	$(TEST) --lib --bins --test emulator

fuzz: ## Try the decoder, name tags, durations and the Secret with made-up inputs, each for FUZZ_SECONDS (30)
	@tools/fuzz

programs: ## Find or build the control plane's programs
	@$(BUILD)
	@$(CLUSTER) binaries

kstatus: ## Build what tells how kstatus reads a resource
	cd tests/kstatus && CGO_ENABLED=0 go build -trimpath -o ../../target/kstatus . && go vet . && go test .

# Without -trimpath, so that the tests take the same packages: they are many, and take minutes to compile once.
argocd: ## Build what tells what Argo CD makes of a resource, from Argo CD's own code
	cd tests/gitops && CGO_ENABLED=0 go build -o ../../target/argocd . && CGO_ENABLED=0 go vet . && CGO_ENABLED=0 go test .

harness: ## Try the harness itself on a real control plane
	$(TEST) --test smoke

chart: ## Lint and render the chart, and run its tests; the first run builds what that needs
	@$(BUILD)
	@HELM=$$($(CLUSTER) binaries | sed -n 's/^helm\t//p') tools/chart-check

chart-in-cluster: ## Install, upgrade and uninstall the chart by helm on a real control plane
	@$(BUILD)
	@tools/in-cluster $(CLUSTER) tools/chart-cluster-check

alerts: ## Try the chart's alerts with promtool; the first run builds Prometheus, in minutes
	@tools/alerts-check

examples: ## Apply every example as a dry run to a real control plane, with the CRDs of other projects
	@$(BUILD)
	@tools/in-cluster $(CLUSTER) tools/examples-check

integration: kstatus argocd ## Run the built operator on a real control plane against the emulator
	@tools/prometheus/find >/dev/null
	$(TEST) --test integration -- --test-threads 4

image-lint: ## Lint the Dockerfile and the release's workflow
	@tools/image-lint

# A release build of its own takes many minutes, so `make test` leaves it out.
HOST = $(shell rustc -vV | sed -n 's/^host: //p')
image: image-lint ## Build the image's static programs, and make a key with them in an empty, read-only root (as root)
	@$(BUILD)
	tools/static-build $(HOST)
	@PROGRAMS=target/image/$(HOST)/release tools/in-cluster $(CLUSTER) tools/image-check

# What `make chaos` is given: DURATION=1h OPERATORS=2 KEYS=20 SEED=42 PROOF=docs/proof, and any other flag in CHAOS.
DURATION ?= 10m
OPERATORS ?= 1
KEYS ?= 12
chaos: ## Let everything around the operator fail for DURATION=10m, then check what it promises; SEED, OPERATORS, KEYS, PROOF=docs/proof
	@$(BUILD)
	target/debug/keeptrusts-chaos run --duration $(DURATION) --operators $(OPERATORS) --keys $(KEYS) --patience 2m --limit 5m \
		$(if $(SEED),--seed $(SEED)) $(if $(PROOF),--output $(PROOF)) $(CHAOS)

chaos-short: ## The same in three minutes, with two operators and a seed that is printed
	@$(BUILD)
	@target/debug/keeptrusts-chaos run --duration 100s --operators 2 --patience 20s

# What `make bench` is given: ROUNDS=3, and any other flag in BENCH (`--keys 1000 --scenario waves`).
BENCH_PROGRAMS = --package keeptrusts-operator --package keeptrusts-emulator --package keeptrusts-benches --bins
ROUNDS ?= 3
bench: ## Measure the operator against the bare calls that it needs, optimised, and write docs/benchmarks; ROUNDS=3, BENCH='--keys 1000'
	cargo build --locked --release $(BENCH_PROGRAMS)
	target/release/keeptrusts-benches run --rounds $(ROUNDS) --output docs/benchmarks $(BENCH)
	target/release/keeptrusts-benches table

bench-smoke: ## The same with a few keys and programs that aren't optimised, to see that it works
	@$(BUILD)
	@target/debug/keeptrusts-benches run --keys 20 --rounds 1 --settle 1s --idle 2s --foreign 100

bench-table: ## Generate the page in docs/benchmarks from the report beside it
	@$(BUILD)
	target/debug/keeptrusts-benches table

rotations: kstatus ## Rotate a key a hundred times while its pods call, with an overlap and in place, and record who noticed; takes a quarter of an hour
	ROTATIONS=100 PROOF=$(abspath docs/proof/rotations) $(TEST) --test integration -- load:: --test-threads 2
	$(MAKE) --no-print-directory proof

explore: ## Explore the core within wider bounds than `make test` does, and a million random schedules; takes hours
	$(TEST) --lib -- --ignored --nocapture --test-threads 1 lifecycle::model
	EXPLORE_SCHEDULES=1000000 $(TEST) --lib -- lifecycle::model::random::the_protocol

crds: ## Generate crds/ from the Rust types, and the chart's copy
	cargo run --locked --quiet -- crds --output-dir crds
	cp crds/*.yaml charts/keeptrusts-operator/files/crds/

chart-docs: ## Generate the chart's README from its values.yaml
	@$(BUILD)
	@HELM=$$($(CLUSTER) binaries | sed -n 's/^helm\t//p') tools/chart-check --update

reference: ## Generate the reference part of docs/ from the code
	cargo run --locked --quiet -- reference --output-dir docs

proof: ## Generate the pages in docs/proof/ from the reports beside them
	@$(BUILD)
	target/debug/keeptrusts-chaos table
