/* The answers every knower has heard of, and the tokens the master should hold. */
#include "oracle.h"

void oracle_reset(struct oracle *o)
{
    o->count = 0;
    for (unsigned t = 0; t < WORLD_TOKENS; t++)
        o->last[t] = -1;
    memset(o->heard, 0, sizeof o->heard);
    for (unsigned k = 0; k < ORACLE_KNOWERS; k++)
        o->held[k].count = 0;
}

static bool has(const struct hearsay *h, size_t i)
{
    return (h->bits[i / 64] >> (i % 64) & 1) != 0;
}

bool oracle_holds(const struct oracle *o, unsigned k, unsigned token)
{
    for (size_t i = 0; i < o->held[k].count; i++)
        if (o->held[k].items[i].token == token)
            return true;
    return false;
}

void oracle_fact(struct oracle *o, unsigned k, unsigned token, bool accepted, msec sent, msec arrived)
{
    if (!oracle_holds(o, k, token))
        return;
    if (o->count == ORACLE_FACTS)
        fail("more answers than the oracle can remember");
    size_t i = o->count++;
    o->facts[i] = (struct fact){token, o->last[token], accepted, sent, arrived};
    o->last[token] = (int)i;
    o->heard[k].bits[i / 64] |= UINT64_C(1) << (i % 64);
}

void oracle_said(const struct oracle *o, unsigned k, unsigned token, struct hearsay *out)
{
    if (token == WORLD_TOKENS) {
        *out = o->heard[k];
        return;
    }
    memset(out, 0, sizeof *out);
    for (size_t i = 0; i < o->count; i++)
        if (has(&o->heard[k], i) && o->facts[i].token == token)
            out->bits[i / 64] |= UINT64_C(1) << (i % 64);
}

void oracle_forget(struct oracle *o, unsigned k)
{
    for (size_t i = 0; i < o->count; i++)
        if (has(&o->heard[k], i) && !oracle_holds(o, k, o->facts[i].token))
            o->heard[k].bits[i / 64] &= ~(UINT64_C(1) << (i % 64));
}

void oracle_forget_token(struct oracle *o, unsigned k, unsigned token)
{
    for (size_t i = 0; i < o->count; i++)
        if (o->facts[i].token == token)
            o->heard[k].bits[i / 64] &= ~(UINT64_C(1) << (i % 64));
}

void oracle_hear(struct oracle *o, unsigned k, const struct hearsay *said)
{
    for (size_t i = 0; i < ORACLE_FACT_SET; i++)
        o->heard[k].bits[i] |= said->bits[i];
    oracle_forget(o, k);
}

msec oracle_latest(const struct oracle *o, unsigned k, unsigned token, bool accepted)
{
    msec latest = -1;
    for (int i = o->last[token]; i >= 0; i = o->facts[i].before) {
        const struct fact *f = &o->facts[i];
        if (f->accepted == accepted && f->arrived > latest && has(&o->heard[k], (size_t)i))
            latest = f->arrived;
    }
    return latest;
}

enum token_verdict oracle_belief(const struct oracle *o, unsigned k, unsigned token)
{
    msec accepted = oracle_latest(o, k, token, true);
    for (int i = o->last[token]; i >= 0; i = o->facts[i].before) {
        const struct fact *f = &o->facts[i];
        if (!f->accepted && f->sent > accepted && has(&o->heard[k], (size_t)i))
            return TOKEN_REFUSED;
    }
    return accepted >= 0 ? TOKEN_ACCEPTED : TOKEN_UNTESTED;
}

bool oracle_any_accepted(const struct oracle *o, unsigned k)
{
    for (size_t i = 0; i < o->held[k].count; i++)
        if (oracle_belief(o, k, o->held[k].items[i].token) == TOKEN_ACCEPTED)
            return true;
    return false;
}

void oracle_file(struct oracle *o, const unsigned *tokens, size_t count, msec now)
{
    struct holdings *held = &o->held[ORACLE_MASTER], next = {.count = 0};
    for (size_t i = 0; i < count; i++)
        next.items[next.count++] = (struct holding){.token = tokens[i], .in_file = true, .vanished = -1};
    for (int round = 0; round < 2; round++) { /* those that vanish now, then those that had before */
        for (size_t i = 0; i < held->count; i++) {
            struct holding h = held->items[i];
            bool listed = false;
            for (size_t j = 0; j < count; j++)
                listed |= tokens[j] == h.token;
            if (listed || h.in_file != (round == 0))
                continue;
            if (h.in_file)
                h.vanished = now;
            h.in_file = false;
            next.items[next.count++] = h;
        }
    }
    *held = next;
}

void oracle_expire(struct oracle *o, msec grace, const int64_t *expires, msec now, int64_t wall)
{
    struct holdings *held = &o->held[ORACLE_MASTER];
    size_t kept = 0;
    for (size_t i = 0; i < held->count; i++) {
        struct holding h = held->items[i];
        h.expired = expires[h.token] != 0 && expires[h.token] <= wall;
        if (h.in_file || h.vanished + grace > now)
            held->items[kept++] = h;
    }
    held->count = kept;
    oracle_forget(o, ORACLE_MASTER);
}

unsigned oracle_first_choice(const struct oracle *o, unsigned k, bool probing)
{
    const struct holdings *held = &o->held[k];
    unsigned accepted = WORLD_TOKENS, untested = WORLD_TOKENS, expired = WORLD_TOKENS;
    for (size_t i = held->count; i-- > 0;) { /* from the oldest, so that the newest of each kind stays */
        const struct holding *h = &held->items[i];
        enum token_verdict belief = oracle_belief(o, k, h->token);
        if (belief == TOKEN_REFUSED)
            continue;
        if (h->expired)
            expired = h->token;
        else if (belief == TOKEN_ACCEPTED || (!probing && h->in_file))
            accepted = h->token;
        else
            untested = h->token;
    }
    if (accepted != WORLD_TOKENS)
        return accepted;
    if (untested != WORLD_TOKENS)
        return untested;
    if (expired != WORLD_TOKENS)
        return expired;
    return held->count > 0 ? held->items[0].token : WORLD_TOKENS;
}
