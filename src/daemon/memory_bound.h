/* The most memory the process can need: computed from the limits in force, part by part. Main thread. */
#ifndef PP_DAEMON_MEMORY_BOUND_H
#define PP_DAEMON_MEMORY_BOUND_H

#include "config/config.h"

/* One kind of thing: so many of them at once, and so many bytes for all. */
struct memory_part {
    const char *name; /* "requests" */
    const char *keys; /* what to turn to have less: "max_inflight, max_body" */
    uint64_t count, bytes;
};

enum { MEMORY_CLIENTS, MEMORY_REQUESTS, MEMORY_BODIES, MEMORY_IDLE, MEMORY_WEBSOCKETS, MEMORY_ITSELF, MEMORY_PARTS };

struct memory_bound {
    struct memory_part parts[MEMORY_PARTS];
    uint64_t bytes; /* all parts together */
};

/* `places`: clients of all workers at once; `files`: descriptors the process may open. What each thing costs comes from
 * the module that owns it, a quarter is added for what malloc(3) cannot use; tests hold the result against what the
 * process really takes. The kernel's socket buffers are not the process's and not in it. */
void memory_bound_compute(const struct config *c, unsigned workers, unsigned places, unsigned files,
                          struct memory_bound *out);

/* "at most 2.9 GiB (3089123123 bytes): requests 1024 x 1.6 MiB = 1.6 GiB (max_inflight, max_body); …", largest part
 * first. */
void memory_bound_text(const struct memory_bound *b, struct buf *out);

#endif
