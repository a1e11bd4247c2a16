# proofproxy: hand-written, GNU make, one Makefile for everything. HACKING.md explains how to use and extend it.
#
# It bootstraps itself: where config.mk is missing, autoreconf and configure run first. Every variable can be given on
# the command line, and what is built with other flags is rebuilt:
#     make BUILD=build-asan SANITIZE=address,undefined check
#     make BUILD=build-clang CC=clang WERROR=-Werror

BUILD ?= build
.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

# What a fresh Debian 12 needs to build, test and package. One per line, sorted.
DEPS := \
	autoconf \
	build-essential \
	check \
	chromium \
	clang-14 \
	clang-format-14 \
	clang-tidy-14 \
	cppcheck \
	curl \
	debhelper \
	gdb \
	git \
	iproute2 \
	libclang-rt-14-dev \
	libconfig-dev \
	libcurl4-openssl-dev \
	libhttp-parser-dev \
	libjansson-dev \
	libmicrohttpd-dev \
	libssl-dev \
	libsystemd-dev \
	lintian \
	mandoc \
	netcat-openbsd \
	node-ws \
	nodejs \
	openssl \
	pkg-config \
	procps \
	prometheus \
	python3 \
	python3-aiohttp \
	python3-h11 \
	python3-pytest \
	python3-pytest-rerunfailures \
	python3-pytest-xdist \
	python3-websockets \
	shellcheck \
	slowhttptest \
	strace \
	systemd \
	valgrind \
	zsh

# --- bootstrap ---

# Goals that need no configuration.
BARE := deps clean distclean format check-format check-layers check-style
ifneq ($(filter-out $(BARE),$(or $(MAKECMDGOALS),all)),)
include config.mk
endif

# A CC or CFLAGS for this one call of make is not for the configuration.
ONCE = $(foreach v,CC CFLAGS CPPFLAGS LDFLAGS LIBS SANITIZE WERROR,$(if $(filter command,$(firstword $(origin $v))),-u $v))
config.mk src/config.h &: configure config.mk.in src/config.h.in
	@if [ -x config.status ]; then env $(ONCE) ./config.status --silent --recheck && ./config.status --silent; \
	else env $(ONCE) ./configure --quiet $(CONFIGURE_FLAGS); fi
	@touch config.mk src/config.h

configure src/config.h.in &: configure.ac VERSION
	autoreconf --force
	@touch configure src/config.h.in

# make brings config.mk up to date before it looks at the goals. With "deps" among them, the packages come first:
# "make deps check" works in one go where not even autoconf is installed.
ifneq ($(filter deps,$(MAKECMDGOALS)),)
configure src/config.h.in config.mk src/config.h: | deps
endif

.PHONY: deps
deps:
	@scripts/deps $(DEPS)

# Nothing reads /usr/etc: with prefix=/usr, configuration lives in /etc unless told otherwise.
ifeq ($(sysconfdir),/usr/etc)
sysconfdir := /etc
endif

# --- flags ---

comma := ,
SANITIZE_FLAGS = $(if $(SANITIZE),-fsanitize=$(SANITIZE) -fno-sanitize-recover=all -fno-omit-frame-pointer)
# Sanitizers bring their own checks, and without optimisation glibc refuses to be fortified.
FORTIFY = $(if $(SANITIZE)$(findstring _FORTIFY_SOURCE,$(CPPFLAGS) $(CFLAGS)),,$(if \
	$(filter -O1 -O2 -O3 -Os,$(CFLAGS)),-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2))
WARN_CC = $(if $(findstring clang,$(CC)),$(WARN_CLANG),$(WARN_GCC))

PP_CPPFLAGS = -D_GNU_SOURCE -Isrc $(LIB_CFLAGS) $(CPPFLAGS)
PP_CFLAGS = -std=c11 $(WARN) $(WARN_CC) $(WERROR) $(HARDEN) $(FORTIFY) $(SANITIZE_FLAGS) $(CFLAGS)
PP_LDFLAGS = $(HARDEN_LD) $(SANITIZE_FLAGS) $(LDFLAGS)
PP_LIBS = $(LIBS) -lpthread

# Everything is rebuilt when the compiler or a flag changes: $(BUILD)/flags holds what was used last. So is what
# depends on folders when one of those changes: $(BUILD)/folders.
FLAGS_NOW = $(CC) | $(PP_CPPFLAGS) | $(PP_CFLAGS) | $(PP_LDFLAGS) | $(PP_LIBS)
FOLDERS_NOW = $(sbindir) $(sysconfdir)
ifneq ($(file <$(BUILD)/flags),$(FLAGS_NOW))
.PHONY: $(BUILD)/flags
endif
ifneq ($(file <$(BUILD)/folders),$(FOLDERS_NOW))
.PHONY: $(BUILD)/folders
endif
$(BUILD)/flags:
	$(shell mkdir -p $(@D))$(file >$@,$(FLAGS_NOW))@:
$(BUILD)/folders:
	$(shell mkdir -p $(@D))$(file >$@,$(FOLDERS_NOW))@:

# make V=1 shows whole commands.
ifeq ($(V),1)
say =
else
say = @echo '  $(1)  $@';
endif

# --- programs ---

# Everything but main.c is one static library, linked by the daemon, the unit tests, the simulation and the fuzzers.
LIB_SRC := $(sort $(wildcard src/*/*.c))
LIB_OBJ := $(LIB_SRC:%.c=$(BUILD)/%.o)
LIB := $(BUILD)/libproofproxy.a
DAEMON := $(BUILD)/proofproxy

UNIT_SRC := $(sort $(wildcard tests/unit/test_*.c))
UNIT := $(UNIT_SRC:%.c=$(BUILD)/%)
SIM_SRC := $(sort $(wildcard tests/sim/*.c))
SIM := $(if $(SIM_SRC),$(BUILD)/sim)
FUZZ_SRC := $(sort $(wildcard tests/fuzz/fuzz_*.c))
FUZZ := $(FUZZ_SRC:%.c=$(BUILD)/%)
REPLAY := $(FUZZ_SRC:tests/fuzz/fuzz_%.c=$(BUILD)/tests/fuzz/replay_%)
DIFFERENTIAL := $(patsubst %.c,$(BUILD)/%,$(sort $(wildcard tests/differential/*.c)))
FAULTS_SRC := $(sort $(wildcard tests/faults/*.c))
FAULTS_PROGRAM := $(if $(FAULTS_SRC),$(BUILD)/faults)
FAKEPROOF_SRC := $(sort $(wildcard tests/fakeproof/*.c))
FAKEPROOF := $(if $(FAKEPROOF_SRC),$(BUILD)/fakeproof)
BENCH_SRC := $(sort $(wildcard bench/*.c))
BENCH := $(BENCH_SRC:%.c=$(BUILD)/%)

# Files with @sbindir@ and the like, filled in, and everything else that is installed as it is.
UNITS := $(addprefix $(BUILD)/systemd/,proofproxy.service proofproxy.socket proofproxy.sysusers.conf)
MAN := $(sort $(wildcard man/*.[1-8]))
MAN_FILLED := $(MAN:%=$(BUILD)/%)
SAMPLE := $(if $(wildcard etc/proofproxy.conf),$(BUILD)/etc/proofproxy.conf)

.PHONY: all
all: $(DAEMON) $(UNITS) $(MAN_FILLED) $(SAMPLE)

$(BUILD)/%.o: %.c $(BUILD)/flags src/config.h
	@mkdir -p $(@D)
	$(call say,CC  )$(CC) $(PP_CPPFLAGS) $(PP_CFLAGS) -MMD -MP -c -o $@ $<

# The one that knows where the config file is.
$(BUILD)/src/cli/cli.o: PP_CPPFLAGS += -DSYSCONFDIR='"$(sysconfdir)"'
$(BUILD)/src/cli/cli.o: $(BUILD)/folders

$(LIB): $(LIB_OBJ)
	$(call say,AR  )rm -f $@ && $(AR) rcs $@ $^

LINK = $(call say,LINK)$(CC) $(PP_CFLAGS) $(PP_LDFLAGS) -o $@ $(filter %.o %.a,$^)

$(DAEMON): $(BUILD)/src/main.o $(LIB)
	$(LINK) $(PP_LIBS)

$(BUILD)/tests/unit/%.o: PP_CPPFLAGS += -Itests/unit $(CHECK_CFLAGS)
$(UNIT): $(BUILD)/tests/unit/%: $(BUILD)/tests/unit/%.o $(LIB)
	$(LINK) $(CHECK_LIBS) $(PP_LIBS)

# The simulation counts secrets from allocation to wiping.
$(SIM): PP_LDFLAGS += -Wl,--wrap=secret_alloc,--wrap=secret_free
$(SIM): $(SIM_SRC:%.c=$(BUILD)/%.o) $(LIB)
	$(LINK) $(PP_LIBS)

# Every allocation of the process goes through tests/faults/allocation.c, and fails when told to; -rdynamic names who
# asked for it.
$(FAULTS_PROGRAM): PP_LDFLAGS += -rdynamic
# It runs before a sanitizer is ready.
$(BUILD)/tests/faults/allocation.o: PP_CFLAGS += -fno-sanitize=all
$(FAULTS_PROGRAM): $(FAULTS_SRC:%.c=$(BUILD)/%.o) $(LIB)
	$(LINK) $(PP_LIBS)

$(BENCH): $(BUILD)/bench/%: $(BUILD)/bench/%.o $(LIB)
	$(LINK) $(PP_LIBS)

$(FAKEPROOF): $(FAKEPROOF_SRC:%.c=$(BUILD)/%.o) $(LIB)
	$(LINK) $(PP_LIBS)

$(BUILD)/systemd/%: systemd/%.in $(BUILD)/folders
	@mkdir -p $(@D)
	$(call say,FILL)sed -e 's,@sbindir@,$(sbindir),g' -e 's,@sysconfdir@,$(sysconfdir),g' $< >$@
$(BUILD)/systemd/%: systemd/%
	@mkdir -p $(@D)
	$(call say,COPY)cp $< $@
# Texts speak of /etc and /usr/sbin; what is installed elsewhere says so.
$(MAN_FILLED) $(SAMPLE): $(BUILD)/%: % $(BUILD)/folders
	@mkdir -p $(@D)
	$(call say,FILL)sed -e 's,/etc/proofproxy,$(sysconfdir)/proofproxy,g' $< >$@

# A fuzz target is linked twice: with libFuzzer (clang only, see "fuzz"), and with a plain main that replays its corpus.
$(FUZZ): $(BUILD)/tests/fuzz/fuzz_%: $(BUILD)/tests/fuzz/fuzz_%.o $(LIB)
	$(LINK) -fsanitize=fuzzer $(PP_LIBS)
$(REPLAY): $(BUILD)/tests/fuzz/replay_%: $(BUILD)/tests/fuzz/replay.o $(BUILD)/tests/fuzz/fuzz_%.o $(LIB)
	$(LINK) $(PP_LIBS)

# Drivers that say what our parser and others make of the same bytes.
$(DIFFERENTIAL): $(BUILD)/tests/differential/%: $(BUILD)/tests/differential/%.o $(LIB)
	$(LINK) $(PP_LIBS) $(if $(findstring http_parser,$@),-lhttp_parser)

# --- checks ---

# One line per kind of check: add its name to CHECKS and write a target check-NAME that fails when something is wrong.
# scripts/run-checks runs them one after the other and counts what Check, pytest and "N passed, N failed" lines say; a
# check without such a line counts as one.
CHECKS += layers
CHECKS += style
CHECKS += security
CHECKS += format
CHECKS += scripts
CHECKS += units
CHECKS += $(if $(MAN),man)
CHECKS += options
CHECKS += unit
CHECKS += $(if $(SIM),sim mutants)
CHECKS += $(if $(FAULTS_PROGRAM),faults)
CHECKS += $(if $(REPLAY),corpus)
CHECKS += $(if $(DIFFERENTIAL),differential)
CHECKS += defences
CHECKS += completion
CHECKS += e2e
CHECKS += host
CHECKS += system

# Everything the checks run, so that "make -j2 check" compiles in parallel and then measures undisturbed.
CHECK_PROGRAMS = $(DAEMON) $(UNIT) $(SIM) $(FAULTS_PROGRAM) $(CLOCK) $(REPLAY) $(DIFFERENTIAL) $(FAKEPROOF)

.PHONY: check check-programs $(CHECKS:%=check-%)
check: check-programs
	@$(MAKE) -s --no-print-directory run-checks
check-programs: $(CHECK_PROGRAMS)
.PHONY: run-checks
run-checks:
	@+MAKE="$(MAKE)" scripts/run-checks $(CHECKS)

# Debian's own Python, whatever else is in PATH: its packages are the ones in DEPS.
# PYTEST_ARGS chooses some of the tests: make check-e2e PYTEST_ARGS="-k rotation -x"
# A test of whole processes that fails gets a second chance, and is named as "rerun": the machines are shared and busy.
PYTEST = PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 -m pytest -q -p no:cacheprovider --reruns 1

# Where a test finds the programs under test.
PP_ENV = PROOFPROXY_BUILD=$(abspath $(BUILD)) PROOFPROXY=$(abspath $(DAEMON)) FAKEPROOF=$(abspath $(FAKEPROOF))

check-layers:
	@scripts/check-layers
check-style:
	@scripts/check-style
check-security:
	@scripts/check-security
check-scripts:
	@$(PYTEST) tests/scripts

CLANG_FORMAT ?= clang-format-14
C_FILES = $(sort $(wildcard src/*.c src/*/*.[ch] tests/*/*.[ch] bench/*.[ch]))
.PHONY: format
format:
	$(CLANG_FORMAT) -i $(filter-out src/config.h,$(C_FILES))
check-format:
	@$(CLANG_FORMAT) --dry-run --Werror $(filter-out src/config.h,$(C_FILES))

check-unit: $(UNIT)
	@scripts/run-units $(UNIT)
check-sim: $(SIM)
	@test -x "$(SIM)" && $(SIM)
check-faults: $(FAULTS_PROGRAM)
	@test -x "$(FAULTS_PROGRAM)" && $(FAULTS_PROGRAM)
# Every system call of the daemon failing in turn, under strace; a minute, so .ci/run asks for it and check does not.
# FAULTS=all tries every occurrence, FAULTS=NAME every one of one call.
.PHONY: check-syscalls
$(BUILD)/tests/faults/allocation.so: tests/faults/allocation.c tests/faults/allocation.h $(BUILD)/flags
	@mkdir -p $(@D)
	$(call say,LINK)$(CC) -std=c11 -D_GNU_SOURCE $(WARN) $(WARN_CC) $(WERROR) -O1 -fPIC -shared -o $@ $<
check-syscalls: $(DAEMON) $(FAKEPROOF) $(BUILD)/tests/faults/allocation.so
	@PYTHONDONTWRITEBYTECODE=1 $(PP_ENV) tests/faults/syscalls
check-mutants: $(SIM)
	@tests/sim/mutate "$(CC) -D_GNU_SOURCE -Isrc $(CPPFLAGS) $(PP_CFLAGS) -w -c -o OUT IN" \
		"$(CC) $(PP_CFLAGS) $(HARDEN_LD) $(SANITIZE_FLAGS) -Wl,--wrap=secret_alloc,--wrap=secret_free -o OUT OBJECT \
		$(SIM_SRC:%.c=$(BUILD)/%.o) $(LIB) $(PP_LIBS)"
check-defences: $(UNIT)
	@tests/defences/remove "$(CC) -D_GNU_SOURCE -Isrc $(CPPFLAGS) $(PP_CFLAGS) -O0 -U_FORTIFY_SOURCE -w -c -o OUT IN" \
		"$(CC) $(PP_CFLAGS) $(HARDEN_LD) $(SANITIZE_FLAGS) -o OUT $(BUILD)/tests/unit/TEST OBJECT $(LIB) $(CHECK_LIBS) \
		$(PP_LIBS)"
# The same for what only the whole daemon shows: each time another daemon, and the end-to-end tests about it. Minutes, so
# .ci/run may ask for it and check does not.
.PHONY: check-defences-whole
check-defences-whole: $(DAEMON) $(FAKEPROOF)
	@tests/defences/remove-whole $(BUILD) "$(CC) -D_GNU_SOURCE -Isrc $(LIB_CFLAGS) $(CPPFLAGS) \
		-DSYSCONFDIR='\"$(sysconfdir)\"' $(PP_CFLAGS) -w -c -o OUT IN" \
		"$(CC) $(PP_CFLAGS) $(PP_LDFLAGS) -o OUT $(BUILD)/src/main.o OBJECT $(LIB) $(PP_LIBS)"
check-corpus: $(REPLAY)
	@scripts/replay-corpus $(BUILD) $(REPLAY)
check-differential: $(DIFFERENTIAL)
	@/usr/bin/python3 tests/differential/compare.py $(BUILD)/tests/differential

check-units: $(UNITS) $(DAEMON)
	@scripts/check-units $(BUILD)
check-man:
	@scripts/check-man $(MAN)
check-options: $(DAEMON)
	@scripts/check-options $(DAEMON)

check-e2e: $(DAEMON) $(FAKEPROOF)
	@$(PP_ENV) $(PYTEST) -n 4 tests/e2e $(PYTEST_ARGS)

# Thousands of WebSockets at once across reloads and rotations; a minute, so .ci/run asks for it and check does not.
.PHONY: check-tunnels
check-tunnels: $(DAEMON) $(FAKEPROOF)
	@$(PP_ENV) $(PYTEST) tests/tunnels $(PYTEST_ARGS)

# Crowds of slow, greedy and malformed clients at once, while good callers call; a minute and a half.
.PHONY: check-attacks
check-attacks: $(DAEMON) $(FAKEPROOF)
	@$(PP_ENV) $(PYTEST) tests/attacks $(PYTEST_ARGS)

# What a request costs in instructions and system calls, against tests/guard/baseline; no clock is read. Not among CHECKS:
# the baseline belongs to the default flags.
GUARD_SLOWER := $(BUILD)/tests/guard/proofproxy-slower
$(GUARD_SLOWER): $(BUILD)/src/main.o $(BUILD)/tests/guard/slower.o $(LIB)
	$(LINK) -Wl,--wrap=upstream_release $(PP_LIBS)
GUARD_ENV = $(PP_ENV) PROOFPROXY_SLOWER=$(abspath $(GUARD_SLOWER)) \
	GUARD_COMPILER='$(notdir $(firstword $(CC))) $(shell $(CC) -dumpfullversion -dumpversion), $(strip $(CFLAGS) $(SANITIZE))'
.PHONY: check-guard guard-update
check-guard: $(DAEMON) $(GUARD_SLOWER)
	@$(GUARD_ENV) tests/guard/run
guard-update: $(DAEMON) $(GUARD_SLOWER)
	@$(GUARD_ENV) tests/guard/run --update

# Minutes of load, reloads, rotations and faults, after which nothing may have been lost or have grown.
SOAK_SECONDS ?= 180
.PHONY: soak
soak: $(DAEMON) $(FAKEPROOF)
	@$(PP_ENV) SOAK_SECONDS=$(SOAK_SECONDS) tests/soak/run

# What the host may do to it: a clock that jumps, a name server that hangs, a full disk.
CLOCK := $(BUILD)/tests/host/clock.so
$(CLOCK): tests/host/clock.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(call say,LINK)$(CC) -std=c11 -D_GNU_SOURCE $(WARN) $(WARN_CC) $(WERROR) -O1 -fPIC -shared -o $@ $<
check-host: $(DAEMON) $(FAKEPROOF) $(CLOCK)
	@$(PP_ENV) $(PYTEST) -n 2 tests/host $(PYTEST_ARGS)

check-completion: $(DAEMON)
	@$(PP_ENV) $(PYTEST) tests/completion

# The unit under a systemd booted for it; says why and counts nothing where that can't be done.
check-system: $(DAEMON) $(FAKEPROOF) $(UNITS) $(SAMPLE)
	@$(PP_ENV) BUILD=$(BUILD) SYSUSERSDIR=$(sysusersdir) tests/system/run $(abspath $(confdir)) $(PYTEST_ARGS)
# All end-to-end tests inside the sandbox of the unit.
check-sandbox: $(DAEMON) $(FAKEPROOF) $(UNITS)
	@$(PP_ENV) PYTEST_ARGS='$(PYTEST_ARGS)' tests/system/run-sandboxed $(BUILD)
# The package, installed and purged in the same way.
check-package: $(FAKEPROOF)
	@$(PP_ENV) tests/system/run-package $$(ls -t proofproxy_*.deb | head -n 1)

# --- static analysis, for .ci/run ---

.PHONY: tidy cppcheck shellcheck
ANALYSED = $(filter-out tests/unit/%,$(filter %.c,$(C_FILES)))
tidy: src/config.h
	@printf '%s\n' $(ANALYSED) | scripts/tidy -std=c11 $(PP_CPPFLAGS) -DSYSCONFDIR='"/etc"'
cppcheck: src/config.h
	@cppcheck --quiet --std=c11 --error-exitcode=1 --inline-suppr --enable=warning,performance,portability -j 2 \
		--suppress=missingIncludeSystem --suppress=unknownMacro -D_GNU_SOURCE -Isrc src tests/fakeproof
shellcheck:
	@shellcheck --severity=warning $(shell grep -lE '^(#!/bin/(ba)?sh|#!/usr/bin/env (ba)?sh|# shellcheck shell=)' -r .ci scripts bench \
		contrib debian tests | sort)

# --- demo and bench ---

.PHONY: demo bench
demo: $(DAEMON) $(FAKEPROOF)
	@$(PP_ENV) scripts/demo
# The peers are installed when they are needed. BENCH_ARGS="--only load,memory" or "--quick"; bench/run says more.
BENCH_DEPS := haproxy nginx wrk
BENCH_ARGS ?=
bench: $(DAEMON) $(FAKEPROOF) $(BENCH)
	@scripts/deps $(BENCH_DEPS)
	@$(PP_ENV) bench/run $(BENCH_ARGS)

# --- fuzzing: make fuzz FUZZ_SECONDS=60 ---

FUZZ_SECONDS ?= 10
.PHONY: fuzz fuzz-programs
fuzz:
	@+$(MAKE) --no-print-directory BUILD=$(BUILD)-fuzz CC=clang-14 SANITIZE=fuzzer-no-link,address,undefined fuzz-programs
	@scripts/run-fuzzers $(BUILD)-fuzz $(FUZZ_SECONDS) $(FUZZ_SRC:tests/fuzz/fuzz_%.c=%)
fuzz-programs: $(FUZZ)

# --- installation: make install DESTDIR=/tmp/root prefix=/usr ---

INSTALL ?= install
INSTALL_PROGRAM ?= $(INSTALL)
INSTALL_DATA ?= $(INSTALL) -m 644
bashcompletiondir = $(datadir)/bash-completion/completions
zshcompletiondir = $(datadir)/zsh/site-functions
confdir = $(sysconfdir)/proofproxy
EXAMPLES := $(sort $(filter-out contrib/completion/% %.test.yml,$(wildcard contrib/*/*.*)))

# What is installed, as "file:directory"; uninstall removes exactly this. The configuration file is apart: an
# installation never overwrites the one in use, and an uninstallation leaves it.
INSTALLED_DATA = \
	$(BUILD)/systemd/proofproxy.service:$(systemdsystemunitdir)/proofproxy.service \
	$(BUILD)/systemd/proofproxy.socket:$(systemdsystemunitdir)/proofproxy.socket \
	$(BUILD)/systemd/proofproxy.sysusers.conf:$(sysusersdir)/proofproxy.conf \
	contrib/completion/proofproxy.bash:$(bashcompletiondir)/proofproxy \
	contrib/completion/_proofproxy:$(zshcompletiondir)/_proofproxy \
	systemd/credentials.conf.example:$(docdir)/examples/credentials.conf \
	$(foreach text,$(wildcard README.md SECURITY.md NEWS.md),$(text):$(docdir)/$(text)) \
	$(foreach text,$(wildcard contrib/FLEETS.md),$(text):$(docdir)/examples/$(notdir $(text))) \
	$(foreach file,$(EXAMPLES),$(file):$(docdir)/examples/$(file:contrib/%=%)) \
	$(foreach page,$(MAN),$(BUILD)/$(page):$(mandir)/man$(subst .,,$(suffix $(page)))/$(notdir $(page)))

.PHONY: install uninstall
install: all
	@set -e; put() { mkdir -p "$$(dirname "$$3")"; echo "  INSTALL $$3"; $$1 "$$2" "$$3"; }; \
	put "$(INSTALL_PROGRAM)" $(DAEMON) "$(DESTDIR)$(sbindir)/proofproxy"; \
	for pair in $(INSTALLED_DATA); do put "$(INSTALL_DATA)" "$${pair%%:*}" "$(DESTDIR)$${pair#*:}"; done; \
	conf="$(DESTDIR)$(confdir)/proofproxy.conf"; \
	if [ -e "$$conf" ]; then conf="$$conf.new"; echo "  keeping your proofproxy.conf; the new sample is $$conf"; fi; \
	put "$(INSTALL_DATA)" $(SAMPLE) "$$conf"

uninstall:
	rm -f "$(DESTDIR)$(sbindir)/proofproxy"
	@set -e; for pair in $(INSTALLED_DATA); do echo "  REMOVE $(DESTDIR)$${pair#*:}"; rm -f "$(DESTDIR)$${pair#*:}"; done
	@[ ! -d "$(DESTDIR)$(docdir)" ] || find "$(DESTDIR)$(docdir)" -depth -type d -empty -delete
	@[ ! -e "$(DESTDIR)$(confdir)/proofproxy.conf.new" ] || rm -f "$(DESTDIR)$(confdir)/proofproxy.conf.new"
	@[ ! -d "$(DESTDIR)$(confdir)" ] || echo "  left: $(DESTDIR)$(confdir), with your configuration and tokens"

# --- release ---

# What belongs to the source: the files under version control, or those listed in MANIFEST in a tarball.
DIST := proofproxy-$(VERSION)
SOURCE_FILES = $(shell if [ -e .git ]; then git ls-files; else cat MANIFEST; fi)

.PHONY: dist deb
dist: configure src/config.h.in
	@scripts/dist $(DIST) $(BUILD)
deb:
	@scripts/build-deb $(DIST) $(BUILD)

# --- cleaning ---

.PHONY: clean distclean
clean:
	rm -rf $(BUILD) $(BUILD)-*

distclean: clean
	rm -rf config.mk config.log config.status configure configure~ src/config.h src/config.h.in src/config.h.in~
	rm -rf autom4te.cache

-include $(sort $(wildcard $(BUILD)/src/*.d $(BUILD)/bench/*.d $(BUILD)/*/*/*.d))
