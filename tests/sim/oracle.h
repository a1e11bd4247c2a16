/* What ought to be known and held, worked out another way than the store does: by remembering every single answer. */
#ifndef PP_TESTS_SIM_ORACLE_H
#define PP_TESTS_SIM_ORACLE_H

#include "token/store.h"
#include "world.h"

#define ORACLE_FACTS    4096
#define ORACLE_MASTER   WORLD_REPLICAS /* number of the master among the knowers */
#define ORACLE_KNOWERS  (WORLD_REPLICAS + 1)
#define ORACLE_FACT_SET (ORACLE_FACTS / 64)

/* One answer that said something. */
struct fact {
    unsigned token;
    int before; /* the answer to the same token before it, -1 = none */
    bool accepted;
    msec sent, arrived;
};
/* Which answers somebody has heard of. */
struct hearsay {
    uint64_t bits[ORACLE_FACT_SET];
};

/* One token as the master's set should have it. */
struct holding {
    unsigned token;
    bool in_file, expired;
    msec vanished;
};
struct holdings {
    struct holding items[LIMIT_TOKENS_HELD + LIMIT_TOKENS_FILE];
    size_t count;
};

struct oracle {
    struct fact facts[ORACLE_FACTS];
    size_t count;
    int last[WORLD_TOKENS]; /* latest answer to each token, -1 = none */
    struct hearsay heard[ORACLE_KNOWERS];
    struct holdings held[ORACLE_KNOWERS];
};

void oracle_reset(struct oracle *o);

/* Knower `k` heard an answer itself. Returns the fact's number. */
void oracle_fact(struct oracle *o, unsigned k, unsigned token, bool accepted, msec sent, msec arrived);
/* What `k` has heard about `token` (or, with WORLD_TOKENS, about all it holds), as a message carries it. */
void oracle_said(const struct oracle *o, unsigned k, unsigned token, struct hearsay *out);
/* `k` hears it; only what concerns tokens it holds stays. */
void oracle_hear(struct oracle *o, unsigned k, const struct hearsay *said);
/* `k` forgets everything about tokens it does not hold, and about this one. */
void oracle_forget(struct oracle *o, unsigned k);
void oracle_forget_token(struct oracle *o, unsigned k, unsigned token);

bool oracle_holds(const struct oracle *o, unsigned k, unsigned token);

/* What `k` ought to think of the token: refused if some refusal it heard of was sent after every acceptance it heard of
 * had arrived. */
enum token_verdict oracle_belief(const struct oracle *o, unsigned k, unsigned token);
bool oracle_any_accepted(const struct oracle *o, unsigned k);
/* Arrival of the latest acceptance, or of the latest refusal, that `k` heard of; -1 if none. */
msec oracle_latest(const struct oracle *o, unsigned k, unsigned token, bool accepted);

/* A good file with these tokens is read by the master. More than LIMIT_TOKENS_HELD may be held then. */
void oracle_file(struct oracle *o, const unsigned *tokens, size_t count, msec now);
/* The master looks at the clock. `expires`: wall ms per token, 0 = unknown. */
void oracle_expire(struct oracle *o, msec grace, const int64_t *expires, msec now, int64_t wall);

/* The token a request of `k` should try first; WORLD_TOKENS if none is held. */
unsigned oracle_first_choice(const struct oracle *o, unsigned k, bool probing);

#endif
