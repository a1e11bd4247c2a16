# proofproxy: hand-written, GNU make, one Makefile for everything.
# Bootstraps itself: without config.mk, autoreconf and configure run first. BUILD=DIR puts the objects elsewhere.

BUILD ?= build
.DEFAULT_GOAL := all
.DELETE_ON_ERROR:

# Targets that need no configuration.
BARE := deps clean distclean format
ifneq ($(filter-out $(BARE),$(or $(MAKECMDGOALS),all)),)
-include config.mk
endif

config.mk src/config.h &: config.mk.in configure
	./configure --quiet $(CONFIGURE_FLAGS)

configure: configure.ac VERSION
	@mkdir -p scripts/aux
	autoreconf --force --install

PP_CPPFLAGS = -D_GNU_SOURCE -Isrc -DSYSCONFDIR='"$(sysconfdir)"' $(LIB_CFLAGS) $(CPPFLAGS)
PP_CFLAGS = -std=c11 $(WARN) $(HARDEN) $(SANITIZE) $(CFLAGS)
PP_LDFLAGS = $(HARDEN_LD) $(SANITIZE) $(LDFLAGS)

# Everything but main.c is one static library, linked by the daemon, the unit tests, the simulation and the fuzzers.
LIB_SRC := $(sort $(wildcard src/*/*.c))
LIB_OBJ := $(LIB_SRC:%.c=$(BUILD)/%.o)
LIB := $(BUILD)/libproofproxy.a
DAEMON := $(BUILD)/proofproxy

UNIT_SRC := $(sort $(wildcard tests/unit/test_*.c))
UNIT := $(UNIT_SRC:%.c=$(BUILD)/%)

.PHONY: all deps check check-unit clean distclean format
all: $(DAEMON)

$(BUILD)/%.o: %.c config.mk src/config.h
	@mkdir -p $(@D)
	$(CC) $(PP_CPPFLAGS) $(PP_CFLAGS) -MMD -MP -c -o $@ $<

$(LIB): $(LIB_OBJ)
	@rm -f $@
	$(AR) rcs $@ $^

$(DAEMON): $(BUILD)/src/main.o $(LIB)
	$(CC) $(PP_CFLAGS) $(PP_LDFLAGS) -o $@ $^ $(LIBS) -lpthread

$(BUILD)/tests/unit/%.o: PP_CPPFLAGS += -Itests/unit $(CHECK_CFLAGS)
$(UNIT): $(BUILD)/tests/unit/%: $(BUILD)/tests/unit/%.o $(LIB)
	$(CC) $(PP_CFLAGS) $(PP_LDFLAGS) -o $@ $^ $(CHECK_LIBS) $(LIBS) -lpthread

check-unit: $(UNIT)
	@set -e; for t in $(UNIT); do $$t; done

check: check-unit

clean:
	rm -rf $(BUILD)

distclean: clean
	rm -rf config.mk config.log config.status configure src/config.h src/config.h.in autom4te.cache scripts/aux

-include $(LIB_OBJ:.o=.d) $(UNIT:=.d) $(BUILD)/src/main.d
