/* The rules of rotation: which tokens are held, what is known of each, which one a request tries. Pure: no I/O, no
 * clock, no thread.
 *
 * Everything that happens comes in as a call with its time; everything to do comes out as an answer. The main thread
 * holds the master; each worker holds a replica, learns its own answers at once and the others' by message. Replicas
 * that were told the same facts, in whatever order, agree on the verdicts (the later fact wins).
 *
 * Times: `now` is monotonic ms, `wall` is UTC ms (only for expires=). */
#ifndef PP_TOKEN_STORE_H
#define PP_TOKEN_STORE_H

#include "base/limits.h"
#include "token/token.h"

enum token_verdict { TOKEN_UNTESTED, TOKEN_ACCEPTED, TOKEN_REFUSED, TOKEN_EXPIRED };
const char *token_verdict_name(enum token_verdict verdict);

enum token_role {
    TOKEN_CURRENT,  /* carries the traffic */
    TOKEN_NEXT,     /* newer than the current one, not proven yet */
    TOKEN_PREVIOUS, /* older than the current one, still in the file */
    TOKEN_RETIRING  /* vanished from the file, kept in memory until its grace ends */
};
const char *token_role_name(enum token_role role);

/* What an answer from upstream says about the token that was sent. */
enum token_answer {
    TOKEN_ANSWER_ACCEPTED, /* any status but 401, 403 and 5xx: Proof looked at the token and went on */
    TOKEN_ANSWER_REFUSED,  /* 401 */
    TOKEN_ANSWER_NOTHING   /* 403 (host or origin), 5xx, no answer: says nothing */
};
enum token_answer token_answer_of(int status);

struct token_store;

struct token_store_policy {
    msec grace;          /* old_token_grace: how long a vanished token is kept */
    msec probe_interval; /* 0 = off: then a new token is tried by traffic (it counts as untested) */
};

struct token_store *token_store_new(const struct token_store_policy *policy) PP_MUST_CHECK;
void token_store_free(struct token_store *s);
void token_store_set_policy(struct token_store *s, const struct token_store_policy *policy);

/* A good file was read: these tokens, newest first, at most LIMIT_TOKENS_FILE, at least 1 (an empty set is PP_INVALID
 * and changes nothing: a good token is never displaced by nothing). Verdicts of tokens already held stay. Tokens no
 * longer listed become retiring until now + grace. PP_NOMEM changes nothing. Takes references of its own. */
enum pp_result token_store_replace(struct token_store *s, struct token *const *tokens, size_t count, msec now,
                                   int64_t wall) PP_MUST_CHECK;

/* Drops retiring tokens whose grace is over and marks tokens past their expires=. True if anything changed. */
bool token_store_expire(struct token_store *s, msec now, int64_t wall);

/* One request's walk through the tokens: each at most once. Zero it before the first call. */
struct token_plan {
    struct token *tried[LIMIT_TOKENS_HELD]; /* pointers to compare with, not references */
    size_t count;
    bool all_refused; /* every held token was known to be refused when the walk began */
};

/* The token to try first, or next after a 401 was learnt; NULL when there is none left. Order: newest accepted, newest
 * untested, newest refused, expired ones never. While some token is not known to be refused, a refused one is never
 * first; after a 401 every remaining token is tried, whatever its back-off, because the ground has just moved; but when
 * all were known to be refused already, the newest goes first (so that the app gets upstream's own 401) and a further
 * one only if its back-off has passed. The pointer is borrowed: take a reference to keep it. */
struct token *token_store_next(struct token_store *s, struct token_plan *plan, msec now);

/* An answer to a request or probe that carried `t`. `when`: monotonic ms it arrived; a fact older than what is known is
 * ignored. True if the verdict changed: then tell the other replicas. */
bool token_store_learn(struct token_store *s, const struct token *t, enum token_answer answer, msec when);

/* Probing, asked of the master alone. The token to probe now, or NULL: a new one at once; an accepted or untested one
 * every probe_interval; a refused one after its back-off. At most one in flight per token: the caller reports each end
 * by token_store_probed (besides token_store_learn). `jitter` in 0..1023 spreads the next time by up to a tenth. */
struct token *token_store_probe_due(struct token_store *s, msec now);
void token_store_probed(struct token_store *s, const struct token *t, msec now, unsigned jitter);

/* When token_store_probe_due or token_store_expire next has something to do; MSEC_NEVER if never. */
msec token_store_next_event(const struct token_store *s, msec now, int64_t wall);

/* What is held, for status, metrics, commands and tests. */
struct token_info {
    struct token *token; /* borrowed */
    enum token_role role;
    enum token_verdict verdict;
    msec since;      /* when the verdict was reached (monotonic), -1 if untested */
    msec next_try;   /* refused: not before this time, unless the ground moves */
    msec grace_ends; /* retiring: MSEC_NEVER otherwise */
    unsigned refusals_in_a_row;
    bool in_file;
};
size_t token_store_list(const struct token_store *s, struct token_info out[static LIMIT_TOKENS_HELD]);

/* Is there a token a request could be sent with? */
bool token_store_usable(const struct token_store *s);

/* The sentence ops need, e.g. "old token unused for 12 min, no WebSocket rides it: safe to retire", or why not. Reads
 * the tokens' use counters. */
void token_store_retire_sentence(const struct token_store *s, msec now, int64_t wall, struct buf *out);

#endif
