/* Probes of the store: which token is tried when, and when the next thing happens. */
#include "token/store_private.h"

static msec probe_time(const struct token_store *s, const struct entry *e)
{
    if (s->policy.probe_interval == 0 || e->probing)
        return MSEC_NEVER;
    if (e->probed == NEVER)
        return 0;
    msec from = e->probed, wait = s->policy.probe_interval;
    if (e->lost > 0) { /* the last probe said nothing */
        unsigned doublings = e->lost - 1 < 6 ? e->lost - 1 : 6;
        wait = earlier(wait, earlier(BACKOFF_FIRST << doublings, BACKOFF_MOST));
    }
    if (store_answer(e) == TOKEN_REFUSED) {
        from = later(from, e->knowledge.tried);
        wait = e->lost > 0 ? later(wait, store_backoff(s, e)) : store_backoff(s, e);
    }
    return from + wait + wait * (msec)e->jitter / 10240;
}

struct token *token_store_probe_due(struct token_store *s, msec now)
{
    for (size_t i = 0; i < s->count; i++) {
        struct entry *e = &s->entries[i];
        if (probe_time(s, e) <= now) {
            e->probing = true;
            e->probe_spoke = false;
            return e->token;
        }
    }
    return NULL;
}

void token_store_probed(struct token_store *s, const struct token *t, msec now, unsigned jitter)
{
    struct entry *e = store_find(s, t);
    if (e == NULL)
        return;
    e->probing = false;
    e->probed = now;
    e->jitter = jitter & 1023;
    e->lost = e->probe_spoke ? 0 : e->lost + 1;
}

void token_store_probe_anew(struct token_store *s)
{
    for (size_t i = 0; i < s->count; i++) {
        s->entries[i].probing = false;
        s->entries[i].probed = NEVER;
        s->entries[i].lost = 0;
    }
}

msec token_store_next_event(const struct token_store *s, msec now, int64_t wall)
{
    msec next = MSEC_NEVER;
    for (size_t i = 0; i < s->count; i++) {
        const struct entry *e = &s->entries[i];
        int64_t expires = token_expires(e->token);
        next = earlier(next, earlier(probe_time(s, e), store_grace_ends(s, e)));
        if (expires != 0 && !e->expired)
            next = earlier(next, expires > wall ? now + (expires - wall) : now);
    }
    return later(next, now);
}
