# SPDX-License-Identifier: GPL-2.0
#
# `make help` lists the targets. Everything is built inside the toolroot that `make setup` makes in
# the cache, and the scripts enter it themselves; the host needs root, debootstrap and a network.

ifneq ($(KERNELRELEASE),)
# Called by the kernel's build system, which prefers Kbuild; nothing is wanted here.
else

MAKEFLAGS += --no-print-directory
export CACHE KVER KDIR V JOBS MINUTES CASE
# An empty variable must be as good as none.
$(foreach v,CACHE KVER KDIR V JOBS MINUTES CASE,$(if $($(v)),,$(eval unexport $(v))))

S := scripts

.PHONY: all help setup module user run test check test-host test-vm test-release test-debug test-kcsan fuzz stress fuzz-device bench bench-check bench-native vm clean

all: module

## module: build oxbpf.ko into build/ (the default)
module: setup
	@$(S)/build module

## setup: make the toolroot and the kernel tree in the cache; nothing when they are there
setup:
	@$(S)/setup

## run: the main job: samples/ on the stock kernel, oxbpf beside the kernel's own bpf(2)
run: module user
	@$(S)/vm --limit 300 run sh samples/run.sh

## test: set-up and all tests: check, host tests, selftests in the VM
test: setup
	@$(S)/test

## check: formatting, lints, layers and rules of the source
check: setup
	@$(S)/check

## test-host: the tests that need no kernel
test-host: setup
	@$(S)/test host

## test-vm: the selftests in the VM
test-vm: setup
	@$(S)/test vm

## test-release: a module without grace periods must not survive what the real one does
test-release: setup
	@$(S)/test release

## stress: everything at once on the debug kernel, for MINUTES (10)
stress: setup
	@$(S)/test stress

## fuzz-device: random commands at the device on the debug kernel, guided by kcov, for MINUTES (10)
fuzz-device: setup
	@$(S)/test fuzz_device

## test-debug: the selftests under KASAN, lockdep, kmemleak; builds that kernel once (20 min)
test-debug: setup
	@$(S)/test debug

## test-kcsan: what runs on several processors at once, on a kernel that looks for data races
test-kcsan: setup
	@$(S)/test kcsan

## fuzz: random programs through verifier, interpreter and the host's bpf(2), for MINUTES (10)
fuzz: setup
	@$(S)/test fuzz

## bench: oxbpf beside the kernel's own bpf(2), in executed instructions; CASE=text: only some
bench: setup
	@$(S)/bench run

## bench-check: fails when a case got worse than the baseline by more than 3 %
bench-check: setup
	@$(S)/bench check

## bench-native: what needs no module beside the host's own bpf(2), in nanoseconds; CASE=text: only some
bench-native: setup
	@$(S)/bench native

## vm: a shell in the VM with the module loaded
vm: module user
	@$(S)/vm shell

## user: programs of user space: selftests, samples, the preload library
user: setup
	@$(S)/build user

## clean: remove what was built in the tree
clean:
	@rm -rf build tools/target

help:
	@echo "Targets:"
	@sed -n 's/^## \([a-z-]*\): /  \1|/p' $(firstword $(MAKEFILE_LIST)) | \
		while IFS='|' read -r t d; do printf '%-16s %s\n' "$$t" "$$d"; done
	@echo "Variables:"
	@echo "  CACHE=DIR      where the set-up keeps what it makes (now: $${CACHE:-$${XDG_CACHE_HOME:-$$HOME/.cache}/oxbpf})"
	@echo "  KVER=VERSION   kernel to build and test with (default: the pinned one, else the newest supported)"
	@echo "  KDIR=DIR       a prepared kernel tree with Rust metadata instead of the set-up's"
	@echo "  MINUTES=N      how long fuzz runs"
	@echo "  CASE=TEXT      only the benchmark's cases whose group/name contains it"
	@echo "  JOBS=N  V=1    processes at once; show the commands"

endif
