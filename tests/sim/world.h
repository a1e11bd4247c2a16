/* The world around the stores: random numbers, a queue of what happens when, and a Proof that knows which token is
 * valid. */
#ifndef PP_TESTS_SIM_WORLD_H
#define PP_TESTS_SIM_WORLD_H

#include "token/token.h"

#define WORLD_TOKENS   24
#define WORLD_REPLICAS 4
#define WORLD_PERIODS  3 /* of validity, per token */
#define WORLD_EVENTS   2048

/* Says what is wrong and ends the program; in sim.c. */
_Noreturn void fail(const char *format, ...) PP_PRINTF(1, 2);
void trace(const char *format, ...) PP_PRINTF(1, 2);

/* --- random numbers: splitmix64, so that a timeline depends on the seed and its number alone --- */
struct rng {
    uint64_t state;
};
uint64_t rng_next(struct rng *r);
unsigned rng_below(struct rng *r, unsigned bound);
bool rng_chance(struct rng *r, unsigned percent);

/* --- what happens when; equal times in the order they were put in --- */
enum event_kind {
    EVENT_REQUEST, /* an app calls worker a */
    EVENT_ANSWER,  /* attempt a's answer arrives */
    EVENT_PROBED,  /* probe of token a ends */
    EVENT_MESSAGE, /* message a arrives */
    EVENT_EDIT,    /* somebody changes the token file */
    EVENT_RESTART,
    EVENT_CLOCK,  /* the wall clock is set */
    EVENT_POLICY, /* a reload changes grace or probe interval */
    EVENT_MAIN    /* the main thread's timer */
};
struct event {
    msec at;
    uint64_t order;
    enum event_kind kind;
    unsigned a;
};
struct queue {
    struct event heap[WORLD_EVENTS];
    size_t count;
    uint64_t order;
};
void queue_put(struct queue *q, msec at, enum event_kind kind, unsigned a);
bool queue_take(struct queue *q, struct event *out);
/* Forgets what a process that dies had under way: answers, probes, messages, its timer. */
void queue_drop_process(struct queue *q);

/* --- Proof --- */
struct period {
    msec from, until;
};
struct world {
    struct rng rng;
    struct queue queue;
    unsigned tokens, replicas;
    struct period valid[WORLD_TOKENS][WORLD_PERIODS];
    bool faults;             /* 403, 5xx and lost answers happen */
    bool flapping;           /* a valid token is refused now and then, as by a node of Proof that lags behind */
    unsigned latency, delay; /* at most, in ms: each way to Proof; of a message */
    msec end;                /* of the random part; then everything stays as it is */
};
void world_make(struct world *w, uint64_t seed);

/* Is token `t` valid at this time? And from the one time to the other without a break? */
bool world_valid(const struct world *w, unsigned t, msec at);
bool world_valid_throughout(const struct world *w, unsigned t, msec from, msec until);

/* Proof's status for a request with token `t` that it looks at at this time; 0 = no answer. */
int world_answer(struct world *w, unsigned t, msec at);

#endif
