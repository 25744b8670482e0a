CARGO ?= cargo

# The default target: what there is, taken from the "##" comments below.
.PHONY: help
help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## build the program into target/release
	$(CARGO) build --release --locked

# Everything is built in release mode: training is too slow to test without optimisation, and one
# profile means one build. The cheap checks come first.
.PHONY: test
test: ## formatting, lints, tests and documentation: what CI runs
	$(CARGO) fmt --check
	$(CARGO) clippy --release --all-targets --locked -- -D warnings
	scripts/with-vulkan $(CARGO) test --release --locked
	$(MAKE) doc

.PHONY: test-long
test-long: ## the tests too long for CI (those marked #[ignore])
	scripts/with-vulkan $(CARGO) test --release --locked -- --ignored --nocapture

.PHONY: parity
parity: build ## compare with diffusers over many configurations; PARITY="--seed 1 --count 100" to choose
	tests/parity/run $(PARITY)

.PHONY: doc
doc: export RUSTDOCFLAGS = -D warnings
doc: ## build the API documentation; a warning is an error
	$(CARGO) doc --release --no-deps --locked

.PHONY: fmt
fmt: ## format the code
	$(CARGO) fmt

.PHONY: clean
clean: ## remove target/, the software Vulkan driver included
	$(CARGO) clean
