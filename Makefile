# SPDX-License-Identifier: GPL-2.0
#
# `make help` lists the targets. Everything is built inside the toolroot that `make setup` makes in
# the cache, and the scripts enter it themselves; the host needs root, debootstrap and a network.

ifneq ($(KERNELRELEASE),)
# Called by the kernel's build system, which prefers Kbuild; nothing is wanted here.
else

MAKEFLAGS += --no-print-directory
export CACHE KVER KDIR V JOBS MINUTES
# An empty variable must be as good as none.
$(foreach v,CACHE KVER KDIR V JOBS MINUTES,$(if $($(v)),,$(eval unexport $(v))))

S := scripts

.PHONY: all help setup module run test vm check host-test vm-test clean distclean

all: module

## module: build oxbpf.ko into build/ (the default)
module: setup
	@$(S)/build module

## setup: make the toolroot and the kernel tree in the cache; nothing when they are there
setup:
	@$(S)/setup

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
	@echo "  JOBS=N  V=1    processes at once; show the commands"

endif
