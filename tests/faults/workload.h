/* A workload: what a module can do, written so that any allocation in it may fail. The runner (main.c) runs it with
 * each of them failing in turn, alone and with all that follow. */
#ifndef PP_TESTS_FAULTS_WORKLOAD_H
#define PP_TESTS_FAULTS_WORKLOAD_H

#include "base/buf.h"

#include <stdbool.h>
#include <stdint.h>

enum outcome {
    REFUSED, /* something was refused for want of memory, and said so */
    DONE     /* everything came out exactly as it should */
};

struct workload {
    const char *name;
    /* Does everything and frees everything: afterwards as many blocks are live as before. What a function hands out is
     * looked at, also while memory is short. */
    enum outcome (*run)(void);
    void (*set_up)(void); /* once, before the first run, with memory; may be NULL */
    unsigned slices;      /* run in so many more processes at once: for those that mostly wait; at most 11 */
    unsigned least;       /* allocations it makes at least: one that asks for fewer has lost its purpose */
};

extern const struct workload base_workloads[], http_workloads[], config_workloads[], token_workloads[], net_workloads[],
    proxy_workloads[], daemon_workloads[];

/* Ends the workload with a failure that names the place and the allocation. */
#define must(condition) ((condition) ? (void)0 : workload_fails(__FILE__, __LINE__, #condition))
void workload_fails(const char *file, int line, const char *what) __attribute__((noreturn));

/* True for PP_OK. Anything but that and PP_NOMEM fails the workload; PP_NOMEM too, when no allocation failed. */
bool workload_ok(enum pp_result rc, const char *file, int line);
#define ok(rc) workload_ok((rc), __FILE__, __LINE__)

/* True when an allocation was refused in this run: whoever failed had a reason. */
bool workload_starved(void);

/* Do all later allocations fail as well? Until memory is back. */
bool workload_persistent(void);
/* Ends the shortage: what follows must work. */
void workload_memory_is_back(void);

/* A text that must be the same in each run that has one. *kept is static and begins as NULL. */
void workload_same(char **kept, const struct buf *text);

/* The folder of this run's files. */
const char *workload_folder(void);

#endif
