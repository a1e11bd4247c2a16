/* The rules of rotation: which tokens are held, what is known of each, which one a request tries. Pure: no I/O, no
 * clock, no thread, no allocation after token_store_new.
 *
 * Everything that happens comes in as a call with its time; everything to do comes out as an answer. The main thread
 * holds the master, which reads files and plans probes; each worker holds a replica, learns its own answers at once and
 * the others' by message: token_snapshot down (token_store_adopt), token_knowledge up (token_store_merge).
 *
 * What is known of a token is two facts: its latest acceptance and its latest refusal. A request is answered somewhere
 * between being sent and its answer's arrival, so of two that overlap nobody can say which is the newer truth. In doubt
 * a token counts as accepted: the price is one more 401, replayed unseen, where the opposite error would withhold a
 * valid token. So a refusal counts only if its request was sent after the latest acceptance had arrived. Facts merge by
 * taking the later of each kind: replicas that heard the same facts, in whatever order, agree.
 *
 * Times: `now`, `sent`, `arrived` are monotonic ms of this host; `wall` is UTC ms (only for expires=). */
#ifndef PP_TOKEN_STORE_H
#define PP_TOKEN_STORE_H

#include "base/limits.h"
#include "token/token.h"

enum token_verdict { TOKEN_UNTESTED, TOKEN_ACCEPTED, TOKEN_REFUSED, TOKEN_EXPIRED };
const char *token_verdict_name(enum token_verdict verdict);

enum token_role {
    TOKEN_CURRENT,  /* carries the traffic: the one a request tries first */
    TOKEN_NEXT,     /* in the file, newer than the current one */
    TOKEN_PREVIOUS, /* in the file, older than the current one */
    TOKEN_RETIRING  /* vanished from the file, kept in memory until its grace ends */
};
const char *token_role_name(enum token_role role);

/* What an answer from upstream says about the token that was sent. */
enum token_answer {
    TOKEN_ANSWER_ACCEPTED, /* 101, 2xx, 404, 409, 410, 422: Proof looked at the token and went on */
    TOKEN_ANSWER_REFUSED,  /* 401 */
    TOKEN_ANSWER_NOTHING /* any other, or none (status 0): may have been said before anybody looked, by Proof (403: this
                          * host or origin is not on the allowlist) or by something in front of it */
};
enum token_answer token_answer_of(int status);

/* One answer to a request or probe. */
struct token_fact {
    enum token_answer answer;
    msec sent, arrived;
};

/* All that is known of one token; -1 = never. */
struct token_knowledge {
    msec accepted; /* arrival of the latest acceptance */
    msec refused;  /* sending of the latest refusal */
    msec tried;    /* arrival of the latest refusal: back-off counts from here */
    msec since;    /* when the present verdict was reached */
};

struct token_store;

struct token_store_policy {
    msec grace;          /* old_token_grace: how long a vanished token is kept */
    msec probe_interval; /* 0 = off: then traffic tries a new token (it goes before an older accepted one) */
};

/* NULL when out of memory. One thread. */
struct token_store *token_store_new(const struct token_store_policy *policy) PP_MUST_CHECK;
/* Lets go of every token. NULL is fine. */
void token_store_free(struct token_store *s);
/* Takes effect on what is held already. */
void token_store_set_policy(struct token_store *s, const struct token_store_policy *policy);

/* --- master: files --- */

/* A good file was read: these tokens, newest first. Takes references of its own; of a token already held, the held
 * object stays, with its verdict and counters, and takes over the expires= of the new one. Held tokens no longer listed
 * become retiring until now + grace. When more than LIMIT_TOKENS_HELD would be held, retiring ones go first, of them
 * the least useful first (expired or refused, then untested, then accepted; the longest vanished first). PP_INVALID,
 * and nothing changes: no token (a good one is never displaced by nothing), more than LIMIT_TOKENS_FILE, or the same
 * one twice. */
enum pp_result token_store_replace(struct token_store *s, struct token *const *tokens, size_t count, msec now,
                                   int64_t wall) PP_MUST_CHECK;

/* Drops retiring tokens whose grace is over, marks those past their expires= and unmarks those no longer past it (the
 * clock was set, the file says something new). True if anything changed. */
bool token_store_expire(struct token_store *s, msec now, int64_t wall);

/* --- every request --- */

/* One request's walk through the tokens: each at most once. Zero it before the first call. */
struct token_plan {
    uint64_t tried[LIMIT_TOKENS_HELD]; /* identities */
    size_t count;
    bool all_refused; /* every held token was known to be refused when the walk began */
};

/* The token to try first, or next after a 401 was learnt; NULL when there is none left. The pointer is borrowed: take a
 * reference to keep it. Order, newest first within each (the file's order, then vanished ones, the latest first):
 *   1. accepted ones; with probing off, an untested one goes before accepted ones that are older;
 *   2. untested ones;
 *   3. expired ones not known to be refused: clocks and comments can be wrong, and serving nobody because of one would
 *      be an outage made here;
 *   4. refused ones, expired or not.
 * So while some token is not known to be refused, a refused one is never first. After a 401 every remaining token is
 * tried, whatever its back-off, because the ground has just moved. But when all were known to be refused as the walk
 * began, a request tries only two: the newest (most likely to be activated next; and the app gets upstream's own 401)
 * and the one accepted last (most likely to come back after a fault at Proof; the second newest if that was the newest,
 * or if none ever was); further ones only if their back-off is over, and then one request alone. So whoever holds an
 * old and a new token never sees a 401 that a try of the other would have spared. */
struct token *token_store_next(struct token_store *s, struct token_plan *plan, msec now);

/* An answer to a request or probe that carried `t` (no longer held: nothing happens). True if the verdict changed: then
 * tell the other replicas what is now known (token_store_knowledge). */
bool token_store_learn(struct token_store *s, const struct token *t, const struct token_fact *fact);

/* --- between replicas --- */

/* False when it is not held. */
bool token_store_knowledge(const struct token_store *s, const struct token *t, struct token_knowledge *out);

/* What another replica knows, merged with what is known here. */
enum token_news {
    TOKEN_NEWS_NONE = 0,
    TOKEN_NEWS_CHANGED = 1, /* the verdict here changed: the master now sends a snapshot to all */
    TOKEN_NEWS_BEHIND = 2   /* what they know leads to another verdict: send them what is known here */
};                          /* bits */
unsigned token_store_merge(struct token_store *s, const struct token *t, const struct token_knowledge *theirs);

/* Everything a replica needs. Holds references: cleared by token_snapshot_clear, by whichever thread has it last. */
struct token_snapshot {
    struct token_store_policy policy;
    size_t count;
    struct token_snapshot_item {
        struct token *token;
        bool in_file, expired;
        msec vanished;
        struct token_knowledge knowledge;
    } items[LIMIT_TOKENS_HELD];
};
void token_store_snapshot(const struct token_store *s, struct token_snapshot *out);
void token_snapshot_copy(const struct token_snapshot *from, struct token_snapshot *to);
void token_snapshot_clear(struct token_snapshot *snapshot);

/* Makes a replica hold exactly what the snapshot holds, and know what either knew. Sets `behind` bits (bit i: item i)
 * for tokens of which the sender is behind: send it what is known here. */
void token_store_adopt(struct token_store *s, const struct token_snapshot *snapshot, uint32_t *behind);

/* --- master: probes --- */

/* The token to probe now, or NULL: a new one at once; an accepted one every probe_interval; one whose probe got no
 * answer, and a refused one, with a back-off that doubles from 1 s to probe_interval, at most 60 s; from 1 s no further
 * while no held token is accepted, so that recovery is quick. It is then in flight, and not due again before
 * token_store_probed (call it after token_store_learn). `jitter` in 0..1023 lengthens the wait by up to a tenth. */
struct token *token_store_probe_due(struct token_store *s, msec now);
void token_store_probed(struct token_store *s, const struct token *t, msec now, unsigned jitter);
/* What probes have told was told by another upstream: every token is due, and none is being probed. Verdicts stay until
 * this upstream has spoken. */
void token_store_probe_anew(struct token_store *s);

/* When token_store_probe_due or token_store_expire next has something to do, never before `now`; MSEC_NEVER if never.
 */
msec token_store_next_event(const struct token_store *s, msec now, int64_t wall);

/* --- what is held: status, metrics, commands, tests --- */
struct token_info {
    struct token *token; /* borrowed */
    enum token_role role;
    enum token_verdict verdict;
    bool accepted;   /* the latest answer was an acceptance, expired or not */
    bool in_file;    /* else retiring, whatever its role */
    msec since;      /* when the verdict was reached, -1 while untested */
    msec tried;      /* refused: the latest refusal */
    msec next_try;   /* refused: not before this time, unless the ground moves */
    msec vanished;   /* when it left the file, -1 while it is in it */
    msec grace_ends; /* MSEC_NEVER while it is in the file */
};
/* In the order newest first. */
size_t token_store_list(const struct token_store *s, struct token_info out[static LIMIT_TOKENS_HELD]);

/* The same without anything about them; borrowed. */
size_t token_store_tokens(const struct token_store *s, struct token *out[static LIMIT_TOKENS_HELD]);

/* Is there a token a request could be sent with? */
bool token_store_usable(const struct token_store *s);
/* Is there one whose latest answer was an acceptance? */
bool token_store_any_accepted(const struct token_store *s);

/* Since when a tunnel should no longer ride `t`: the time it left the file; 0 when it is no longer held at all.
 * MSEC_NEVER while it is in the file, and while it is the current one all the same (nothing better is held). */
msec token_store_retired_since(const struct token_store *s, const struct token *t);

/* The sentence ops need, e.g. "old token 0123456789ab unused for 12 min, no WebSocket rides it: safe to retire", or why
 * not. Reads the tokens' use counters. (store_status.c) */
void token_store_retire_sentence(const struct token_store *s, msec now, int64_t wall, struct buf *out);

#endif
