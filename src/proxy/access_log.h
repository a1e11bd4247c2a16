/* The access log: one line per exchange, per tunnel's end, and per client that was turned away before, gathered during
 * a turn and written at its end. Worker's thread. */
#ifndef PP_PROXY_ACCESS_LOG_H
#define PP_PROXY_ACCESS_LOG_H

#include "proxy/worker.h"

struct exchange;

/* `now`: of clock_usec, when the exchange ended. */
void access_log_write(struct exchange *ex, int64_t now);

/* A client that was turned away with no exchange begun: what is known of it. `end->refused` is a refusal. */
void access_log_turned_away(const struct client *client, const struct server_end *end);

/* What lines of other kinds begin with, and who the client was (`known`: the kernel said so; pid 0: it did not). The
 * caller ends the line with log_fields_end. */
void access_log_begin(struct log_fields *f, struct worker *w, const char *environment);
void access_log_peer(struct log_fields *f, bool known, uint32_t uid, pid_t pid);

#endif
