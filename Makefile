# The front door. Everything behind it is Meson; nobody needs to know.
BUILD   ?= build
TYPE    ?= release
PREFIX  ?= /usr/local
SANITIZE ?=
T       ?= json
SECONDS_ ?= 60
QUIET   ?= $(shell [ -t 2 ] || echo --quiet)

ifeq ($(SANITIZE),1)
BUILD   := build-asan
MESON_FLAGS := -Dbuildtype=debug -Doptimization=1 -Db_sanitize=address,undefined
else
MESON_FLAGS := -Dbuildtype=debugoptimized -Db_ndebug=false
endif

.PHONY: all build demo test asan fuzz bench format lint install clean help

all: build ## build the binary: build/sampan

$(BUILD)/build.ninja:
	@./bootstrap build run
	@meson setup $(BUILD) $(MESON_FLAGS) -Dtests=false >/dev/null

build: $(BUILD)/build.ninja
	@ninja -C $(BUILD) $(QUIET) sampan

demo: ## install what is needed, build, start, deploy the example, stay up (ONCE=1: stop after success)
	@tools/demo

test: ## build and run every test (SANITIZE=1: with ASan and UBSan)
	@SANITIZE=$(SANITIZE) tests/run

asan: ## build and test with AddressSanitizer and UndefinedBehaviorSanitizer
	@$(MAKE) test SANITIZE=1

fuzz: ## fuzz one parser: make fuzz T=json
	@./bootstrap build test fuzz
	@[ -f build-fuzz/build.ninja ] || CC=clang meson setup build-fuzz -Dfuzz=true -Dbuildtype=debug \
	  -Doptimization=1 -Db_sanitize=address,undefined -Db_lundef=false >/dev/null
	@ninja -C build-fuzz --quiet tests/fuzz/fuzz_$(T) && mkdir -p build-fuzz/found-$(T)
	build-fuzz/tests/fuzz/fuzz_$(T) -max_total_time=$(SECONDS_) -timeout=5 \
	  build-fuzz/found-$(T) tests/fuzz/corpus/$(T)

bench: build ## measure, side by side with the peers that are installed
	@./bootstrap test bench
	@grep -q bench/ $(BUILD)/build.ninja || meson configure $(BUILD) -Dtests=true
	@bench/run

format: ## lay out the C sources
	@./bootstrap lint
	@git ls-files '*.c' '*.h' | xargs clang-format-14 -i 2>/dev/null || git ls-files '*.c' '*.h' | xargs clang-format -i

lint: ## layers, layout, static checks
	@./bootstrap lint
	@tools/lint

install: build ## install to PREFIX (default /usr/local)
	@install -D -m 755 $(BUILD)/sampan $(DESTDIR)$(PREFIX)/bin/sampan
	@echo "installed: $(DESTDIR)$(PREFIX)/bin/sampan"

clean: ## remove what was built
	rm -rf build build-asan build-fuzz build-test

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile
