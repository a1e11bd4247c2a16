/* One probe: asks Proof for a transaction that does not exist, with one token, to see what becomes of the token.
 *
 * On the loop's own thread, over the pool it is given. The deadline covers everything; nothing is retried, but for a
 * used connection that turns out to be dead. */
#ifndef PP_PROXY_PROBE_H
#define PP_PROXY_PROBE_H

#include "net/upstream.h"
#include "token/token.h"

#define PROBE_TARGET "/widget/transactions/00000000-0000-0000-0000-000000000000"

struct probe;

struct probe_question {
    struct token *token;
    struct str host, prefix, origin; /* of the environment, as in struct request_head; used only while starting */
    msec timeout;
};

struct probe_result {
    int status; /* 0 = no answer */
    const char
        *failure; /* why not: "dns", "connect", "tls", "timeout", "local", "broken" or "protocol"; "" = answered */
    const char *detail; /* for the log; valid during the call */
    msec sent, arrived; /* monotonic */
    int64_t usec;       /* from start to end */
};

/* Called once, never from inside probe_start; the probe is gone afterwards. */
typedef void (*probe_done)(void *owner, const struct probe_result *result);

/* NULL when out of memory. Takes a reference on the token. */
struct probe *probe_start(struct loop *loop, struct upstream_pool *pool, const struct probe_question *question,
                          probe_done done, void *owner) PP_MUST_CHECK;
/* `done` is not called any more. */
void probe_cancel(struct probe *p);

#endif
