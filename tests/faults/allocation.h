/* Allocations that fail on demand, in every library of the process: malloc, calloc and realloc themselves are replaced.
 *
 * Linked into a program, or preloaded into one (LD_PRELOAD) that is then steered through a shared file: the struct
 * below, named by FAULTS_CONTROL. */
#ifndef PP_TESTS_FAULTS_ALLOCATION_H
#define PP_TESTS_FAULTS_ALLOCATION_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ALLOCATION_FRAMES 24

/* All 64 bits wide, in this order: the Python side reads and writes it as well. */
struct allocation_control {
    atomic_uint_fast64_t armed;     /* 0: nothing is counted and nothing fails */
    atomic_uint_fast64_t fail_at;   /* the allocation of this number fails, from 1; 0 = none */
    atomic_uint_fast64_t all_after; /* and every later one */
    atomic_uint_fast64_t asked;     /* allocations since it was armed */
    atomic_uint_fast64_t refused;   /* of which failed */
    atomic_int_fast64_t live;       /* blocks of the process now, counted always */
};

extern struct allocation_control *allocation;

/* From now on the n-th allocation fails, and all after it if so wanted. */
void allocation_refuse(uint64_t nth, bool all_after);
/* None fails any more; how many did. */
uint64_t allocation_allow(void);

/* Blocks not freed yet. */
int64_t allocation_live(void);

/* Is a sanitizer in place? Its strdup goes past malloc. */
bool allocation_sanitized(void);

/* Who asked for the first allocation that failed: kept there from now on, and written to standard error. */
struct allocation_frames {
    void *at[ALLOCATION_FRAMES];
    int count;
};
void allocation_keep_frames(struct allocation_frames *frames);
void allocation_blame(const struct allocation_frames *frames);

#endif
