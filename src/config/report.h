/* Faults found while a config is read, collected in any order and told in the order of the file. */
#ifndef PP_CONFIG_REPORT_H
#define PP_CONFIG_REPORT_H

#include "config/config.h"
#include "config/memory.h"

struct report_entry;

/* Zero it, then set `file` and `memory`. */
struct report {
    const char *file;
    struct memory *memory; /* holds the entries */
    struct report_entry *newest;
    size_t count;
    bool out_of_memory;
};

/* One fault. `key` is a dotted path, "" for none. */
void report_add(struct report *r, int line, const char *key, const char *format, ...) PP_PRINTF(4, 5);

/* Appends all entries by line, those of one line in the order they were found, at most LIMIT_CONFIG_PROBLEMS. */
void report_tell(const struct report *r, struct config_problems *problems);

#endif
