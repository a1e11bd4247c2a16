/* Memory that is given back all at once: a config's strings and lists, or a parsed file. */
#ifndef PP_CONFIG_MEMORY_H
#define PP_CONFIG_MEMORY_H

#include "base/str.h"

struct memory_block;

/* Zeroed, it is empty and ready. One thread at a time. */
struct memory {
    struct memory_block *newest;
};

/* `n` bytes of zeros, aligned for any type; NULL when there is no memory. With n 0 still a valid pointer. */
void *memory_take(struct memory *m, size_t n) __attribute__((warn_unused_result));

/* A copy with a NUL behind it; NULL when there is no memory. */
char *memory_copy(struct memory *m, struct str text) __attribute__((warn_unused_result));

/* Overwrites and frees everything that was taken. */
void memory_release(struct memory *m);

#endif
