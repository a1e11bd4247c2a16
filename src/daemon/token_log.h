/* What the log says about the tokens of one environment: only what changed since it last spoke. Fingerprints alone. */
#ifndef PP_DAEMON_TOKEN_LOG_H
#define PP_DAEMON_TOKEN_LOG_H

#include "proxy/probe.h"
#include "token/store.h"

struct token_log;

struct token_log *token_log_new(void) PP_MUST_CHECK;
void token_log_free(struct token_log *l);

/* Tokens that came, left the file, went, changed their verdict; which one carries the traffic now. */
void token_log_changes(struct token_log *l, const struct token_store *s, const char *environment, msec now,
                       int64_t wall);

/* Warns as a token's expires= comes near: 7 days, 1 day, 1 hour before, and when it has passed; one that comes later
 * than that, at once. Of tokens that token_log_changes has told of. */
void token_log_expiry(struct token_log *l, const struct token_store *s, const char *environment, int64_t wall);

/* A probe that got no answer, or one that says nothing about the token (403: this host is not on the allowlist): the
 * first of a row, and every time the reason is another one; then the first that works again. */
void token_log_probe(struct token_log *l, const char *environment, const struct token *t,
                     const struct probe_result *result);

#endif
