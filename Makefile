# Everything that a person or a machine runs here. `make check` is the gate.

CARGO ?= cargo
LOCKED = $(if $(wildcard Cargo.lock),--locked)

.DEFAULT_GOAL := help
.PHONY: help build check format lint tidy purity test doc sim exhaustive planted planted-rotating demo bench crash pipeline workqueue rot powercut fuzz sanitize miri clean

# How many cuts `make powercut` gives, and below which file system: ext4 or xfs.
CUTS ?= 1000
FS ?= ext4
# How many seeds `make sim` runs, and how many SIGKILLs `make crash` gives.
SEEDS ?= 2000
KILLS ?= 1000
# How many rounds of kills `make pipeline` has.
ROUNDS ?= 500
# How many rounds of kills `make workqueue` has.
QUEUE_ROUNDS ?= 300
# How many bits `make rot` flips.
FLIPS ?= 20000
# What `make planted` is told: `--only NAME`, `--rotate 5`, `--list`.
PLANTED ?=

help: ## what there is
	@sed -n 's/^\([a-z-]*\):[^#]*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 26

build: ## the release binaries: plimsoll and its load generator
	$(CARGO) build --release $(LOCKED) -p plimsoll-cli -p plimsoll-load

check: format lint tidy purity test doc sim planted-rotating ## the gate: the next eight

format: ## is everything formatted?
	$(CARGO) fmt --all --check

lint: ## clippy over everything, warnings are errors
	$(CARGO) clippy --workspace --all-targets $(LOCKED) --quiet -- -D warnings

tidy: ## the house rules
	$(CARGO) run --quiet $(LOCKED) -p plimsoll-tidy

purity: ## the logic crates build with no operating system in them
	$(CARGO) run --quiet $(LOCKED) -p plimsoll-tidy -- purity

test: ## every test in the workspace
	$(CARGO) test --workspace $(LOCKED) --quiet

doc: ## the documentation, warnings are errors
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps $(LOCKED) --quiet

sim: ## whole servers on the simulated machine, SEEDS=N of them
	$(CARGO) run --release $(LOCKED) --quiet -p plimsoll-simulate -- --seeds $(SEEDS)

# In a copy of the tree below target/planted, so that each bug costs a build of what it changes.
planted-rotating: ## five of the planted bugs, others each day: the simulator must catch each
	$(CARGO) run --release $(LOCKED) --quiet -p plimsoll-simulate --bin plimsoll-planted -- \
		--rotate 5 --no-control

exhaustive: ## one life cut after every operation, each survivor alone and each lost alone
	PLIMSOLL_EXHAUSTIVE=1 $(CARGO) test --release $(LOCKED) -p plimsoll-storage --test storage \
		exhaustive -- --nocapture

# Each bug is a build of storage, shard and the simulator, and its seeds: the gate has five of them.
planted: ## all of the planted bugs, one by one, after the tree without one
	$(CARGO) run --release $(LOCKED) --quiet -p plimsoll-simulate --bin plimsoll-planted -- $(PLANTED)

demo: build ## load, kill -9, restart, count: one table, one verdict
	$(CARGO) run --release $(LOCKED) -p plimsoll-demo

bench: build ## the table of limits, figures and ratios; then the pieces
	$(CARGO) bench $(LOCKED) -p plimsoll-benches --bench limits
	$(CARGO) bench $(LOCKED) -p plimsoll-benches --bench pieces

crash: build ## KILLS=1000 times load, SIGKILL, restart, compare; one table, one verdict
	$(CARGO) run --release $(LOCKED) -p plimsoll-crash -- kills --kills $(KILLS)

pipeline: build ## ROUNDS=500 of kills in a pipeline: files, producers, server, group, files
	$(CARGO) run --release $(LOCKED) -p plimsoll-crash -- pipeline --rounds $(ROUNDS)

workqueue: build ## QUEUE_ROUNDS=300 of kills in a work queue: files, producers, server, members, files
	$(CARGO) run --release $(LOCKED) -p plimsoll-crash -- workqueue --rounds $(QUEUE_ROUNDS)

powercut: build ## root: CUTS=1000 power cuts below FS=ext4, disk errors, a full disk; controls first
	$(CARGO) run --release $(LOCKED) -p plimsoll-powercut -- --cuts $(CUTS) --fs $(FS)

rot: build ## FLIPS=20000 times damage a data directory: named, harmless, never delivered
	$(CARGO) run --release $(LOCKED) -p plimsoll-crash -- rot --flips $(FLIPS)

fuzz: ## each fuzz target for a minute; needs nightly and cargo-fuzz
	for target in $$($(CARGO) +nightly fuzz list --fuzz-dir tools/fuzz); do \
		mkdir -p tools/fuzz/corpus/$$target tools/fuzz/seeds/$$target; \
		$(CARGO) +nightly fuzz run --fuzz-dir tools/fuzz $$target tools/fuzz/corpus/$$target \
			tools/fuzz/seeds/$$target -- -max_total_time=60 || exit 1; \
	done

# Nightly only because stable has no sanitizers. Documentation tests link without them.
sanitize: ## the crates with memory of their own and those on top, with AddressSanitizer; needs nightly
	RUSTFLAGS="-Zsanitizer=address" $(CARGO) +nightly test $(LOCKED) --quiet --lib --tests \
		--target x86_64-unknown-linux-gnu --target-dir target/sanitize \
		-p plimsoll-device -p plimsoll-batch -p plimsoll-wire -p plimsoll-ring -p plimsoll-storage

# A bit at a time is too long for an interpreter: the tests that go through all of them stay out.
miri: ## device, and what is short of batch and wire, under Miri; needs nightly with the component
	MIRIFLAGS=-Zmiri-disable-isolation PROPTEST_CASES=4 $(CARGO) +nightly miri test $(LOCKED) \
		--target-dir target/miri -p plimsoll-device -p plimsoll-batch -p plimsoll-wire --lib
	MIRIFLAGS=-Zmiri-disable-isolation PROPTEST_CASES=4 $(CARGO) +nightly miri test $(LOCKED) \
		--target-dir target/miri -p plimsoll-batch --test damage

clean: ## remove what was built
	$(CARGO) clean
