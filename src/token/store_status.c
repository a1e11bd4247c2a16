/* What the store holds, for people: names, the list, and the sentence that says whether the old token can go. */
#include "token/store_private.h"

#include "base/span.h"

#define UNUSED_LONG_ENOUGH ((int64_t)60000) /* ms: longer than any request takes by default */

const char *token_verdict_name(enum token_verdict verdict)
{
    static const char *const names[] = {"untested", "accepted", "refused", "expired"};
    return names[verdict];
}

const char *token_role_name(enum token_role role)
{
    static const char *const names[] = {"current", "next", "previous", "retiring"};
    return names[role];
}

static const struct entry *current_entry(const struct token_store *s)
{
    const struct entry *best = NULL;
    for (size_t i = 0; i < s->count; i++)
        if (best == NULL || store_rank(s, &s->entries[i]) < store_rank(s, best))
            best = &s->entries[i];
    return best;
}

size_t token_store_tokens(const struct token_store *s, struct token *out[static LIMIT_TOKENS_HELD])
{
    for (size_t i = 0; i < s->count; i++)
        out[i] = s->entries[i].token;
    return s->count;
}

size_t token_store_list(const struct token_store *s, struct token_info out[static LIMIT_TOKENS_HELD])
{
    const struct entry *current = current_entry(s);
    for (size_t i = 0; i < s->count; i++) {
        const struct entry *e = &s->entries[i];
        enum token_role role = e < current ? TOKEN_NEXT : TOKEN_PREVIOUS;
        if (e == current)
            role = TOKEN_CURRENT;
        else if (!e->in_file)
            role = TOKEN_RETIRING;
        bool refused = store_answer(e) == TOKEN_REFUSED;
        out[i] = (struct token_info){.token = e->token,
                                     .role = role,
                                     .verdict = store_verdict(e),
                                     .accepted = store_answer(e) == TOKEN_ACCEPTED,
                                     .in_file = e->in_file,
                                     .since = e->knowledge.since,
                                     .tried = e->knowledge.tried,
                                     .next_try = refused ? store_next_try(s, e) : NEVER,
                                     .vanished = e->vanished,
                                     .grace_ends = store_grace_ends(s, e)};
    }
    return s->count;
}

msec token_store_retired_since(const struct token_store *s, const struct token *t)
{
    const struct entry *e = store_find(s, t);
    if (e == NULL)
        return 0;
    return e->in_file || e == current_entry(s) ? MSEC_NEVER : e->vanished;
}

/* --- the sentence --- */

/* "45 s", "12 min", "3 h 20 min". */
static void append_duration(struct buf *out, int64_t ms)
{
    char text[SPAN_SIZE];
    buf_append_str(out, str_of(span_text(ms < 1000 ? 1000 : ms, text)));
}

/* The one that would go next: the oldest in the file but the current one. */
static const struct token_info *oldest_in_file(const struct token_info *list, size_t n)
{
    for (size_t i = n; i-- > 0;)
        if (list[i].in_file && list[i].role != TOKEN_CURRENT)
            return &list[i];
    return NULL;
}

static const struct token_info *with_role(const struct token_info *list, size_t n, enum token_role role)
{
    for (size_t i = 0; i < n; i++)
        if (list[i].role == role)
            return &list[i];
    return NULL;
}

/* What a newer token still lacks, so that the current one must stay. */
static void say_newer(const struct token_info *next, const struct token_info *current, msec now, struct buf *out)
{
    buf_printf(out, "new token %s is %s", token_fingerprint(next->token), token_verdict_name(next->verdict));
    if (next->since >= 0) {
        buf_printf(out, " for ");
        append_duration(out, now - next->since);
    }
    buf_printf(out, ", token %s carries the traffic: keep both", token_fingerprint(current->token));
}

static void say_old(const struct token_info *old, const struct token_info *current, int64_t wall, struct buf *out)
{
    struct token_use *use = token_use(old->token);
    int64_t last = atomic_load_explicit(&use->last_used, memory_order_relaxed), unused = wall - last;
    long websockets = (long)atomic_load_explicit(&use->websockets, memory_order_relaxed);
    if (last == 0) {
        buf_printf(out, "old token %s never used since the start", token_fingerprint(old->token));
    } else {
        buf_printf(out, "old token %s unused for ", token_fingerprint(old->token));
        append_duration(out, unused);
    }
    if (websockets > 0)
        buf_printf(out, ", %ld WebSocket%s it", websockets, websockets == 1 ? " rides" : "s ride");
    else
        buf_printf(out, ", no WebSocket rides it");
    if (!current->accepted)
        buf_printf(out, ": keep it, token %s is %s", token_fingerprint(current->token),
                   token_verdict_name(current->verdict));
    else if (last != 0 && unused < UNUSED_LONG_ENOUGH) {
        buf_printf(out, ": wait ");
        append_duration(out, UNUSED_LONG_ENOUGH - unused + 999);
        buf_printf(out, " more");
    } else if (websockets > 0)
        buf_printf(out, ": safe to retire, they are asked to reconnect after websocket_retire_delay");
    else
        buf_printf(out, ": safe to retire");
}

void token_store_retire_sentence(const struct token_store *s, msec now, int64_t wall, struct buf *out)
{
    struct token_info list[LIMIT_TOKENS_HELD];
    size_t n = token_store_list(s, list);
    const struct token_info *current = with_role(list, n, TOKEN_CURRENT), *next = with_role(list, n, TOKEN_NEXT);
    const struct token_info *old = oldest_in_file(list, n), *retiring = with_role(list, n, TOKEN_RETIRING);
    if (current == NULL) {
        buf_printf(out, "no token is held: add one");
    } else if (!current->in_file) {
        buf_printf(out, "token %s carries the traffic but is no longer in the file: kept for ",
                   token_fingerprint(current->token));
        append_duration(out, current->grace_ends - now);
        buf_printf(out, " more, then only those in the file are left");
    } else if (next != NULL) {
        say_newer(next, current, now, out);
    } else if (old != NULL) {
        say_old(old, current, wall, out);
    } else if (retiring != NULL) {
        buf_printf(out, "token %s is retired, kept in memory as a fallback for ", token_fingerprint(retiring->token));
        append_duration(out, retiring->grace_ends - now);
        buf_printf(out, " more");
    } else {
        buf_printf(out, "one token is held (%s), none to retire", token_verdict_name(current->verdict));
    }
}
