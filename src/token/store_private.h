/* How a token store lies in memory and what its parts share. For src/token/store*.c alone. */
#ifndef PP_TOKEN_STORE_PRIVATE_H
#define PP_TOKEN_STORE_PRIVATE_H

#include "token/store.h"

#define BACKOFF_FIRST ((msec)1000)
#define BACKOFF_MOST  ((msec)60000)
#define NEVER         ((msec)-1) /* it has not happened */

struct entry {
    struct token *token;
    bool in_file;
    bool expired;
    msec vanished; /* when it left the file */
    struct token_knowledge knowledge;
    msec taken; /* all were refused and a try beyond the first two was handed out: when */
    bool probing;
    msec probed;      /* end of the last probe */
    unsigned lost;    /* probes in a row that said nothing */
    unsigned jitter;  /* of the present wait */
    bool probe_spoke; /* the probe in flight has been answered with a fact */
};

struct token_store {
    struct token_store_policy policy;
    struct entry entries[LIMIT_TOKENS_HELD]; /* newest first: the file's order, then vanished ones, the latest first */
    size_t count;
};

/* NULL when it is not held. By object: the same secret is held once. */
struct entry *store_find(const struct token_store *s, const struct token *t);

/* The verdict of these facts; never TOKEN_EXPIRED. */
enum token_verdict store_judge(const struct token_knowledge *k);
/* The same of an entry: without and with its expires=. */
enum token_verdict store_answer(const struct entry *e);
enum token_verdict store_verdict(const struct entry *e);

/* Folds another replica's facts in; bits of enum token_news. */
unsigned store_merge(struct entry *e, const struct token_knowledge *theirs);

/* 0 to 3: what a request tries first has the smallest; equal ranks go by position. */
int store_rank(const struct token_store *s, const struct entry *e);

/* Of a refused one: how long it is left alone after its last try, and until when. */
msec store_backoff(const struct token_store *s, const struct entry *e);
msec store_next_try(const struct token_store *s, const struct entry *e);

/* When a vanished one is forgotten; MSEC_NEVER while it is in the file. */
msec store_grace_ends(const struct token_store *s, const struct entry *e);

static inline msec later(msec a, msec b)
{
    return a > b ? a : b;
}

static inline msec earlier(msec a, msec b)
{
    return a < b ? a : b;
}

#endif
