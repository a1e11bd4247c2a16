/* What the token side knows, copied into a snapshot. */
#include "daemon/status.h"

#include <stdio.h>

void status_fill_tokens(struct status_environment *e, const struct token_store *store, msec now, int64_t wall)
{
    struct token_info info[LIMIT_TOKENS_HELD];
    e->token_count = token_store_list(store, info);
    e->usable = token_store_usable(store);
    for (size_t i = 0; i < e->token_count; i++) {
        struct token_use *use = token_use(info[i].token);
        struct status_token *t = &e->tokens[i];
        *t = (struct status_token){.role = info[i].role, .verdict = info[i].verdict, .in_file = info[i].in_file};
        (void)snprintf(t->fingerprint, sizeof t->fingerprint, "%s", token_fingerprint(info[i].token));
        t->since = info[i].since < 0 ? 0 : wall - (now - info[i].since);
        t->expires = token_expires(info[i].token);
        t->grace_ends = info[i].grace_ends == MSEC_NEVER ? 0 : wall + (info[i].grace_ends - now);
        t->next_try = t->verdict == TOKEN_REFUSED && info[i].next_try > now ? wall + (info[i].next_try - now) : 0;
        t->last_used = atomic_load_explicit(&use->last_used, memory_order_relaxed);
        t->requests = atomic_load_explicit(&use->requests, memory_order_relaxed);
        t->refusals = atomic_load_explicit(&use->refusals, memory_order_relaxed);
        t->websockets = atomic_load_explicit(&use->websockets, memory_order_relaxed);
    }
    struct buf sentence;
    buf_init(&sentence, sizeof e->retire_sentence - 1);
    token_store_retire_sentence(store, now, wall, &sentence);
    (void)snprintf(e->retire_sentence, sizeof e->retire_sentence, "%.*s", (int)buf_len(&sentence),
                   buf_len(&sentence) > 0 ? buf_str(&sentence).p : "");
    buf_free(&sentence);
}
