/* The rules of rotation: what is known of a token, what is held, which one a request tries. */
#include "token/store_private.h"

#include <stdlib.h>

enum token_answer token_answer_of(int status)
{
    switch (status) {
    case 401:
        return TOKEN_ANSWER_REFUSED;
    case 101:
    case 404:
    case 409:
    case 410:
    case 422:
        return TOKEN_ANSWER_ACCEPTED;
    default:
        return status >= 200 && status <= 299 ? TOKEN_ANSWER_ACCEPTED : TOKEN_ANSWER_NOTHING;
    }
}

struct token_store *token_store_new(const struct token_store_policy *policy)
{
    struct token_store *s = calloc(1, sizeof *s);
    if (s != NULL)
        s->policy = *policy;
    return s;
}

void token_store_free(struct token_store *s)
{
    if (s == NULL)
        return;
    for (size_t i = 0; i < s->count; i++)
        token_unref(&s->entries[i].token);
    free(s);
}

void token_store_set_policy(struct token_store *s, const struct token_store_policy *policy)
{
    s->policy = *policy;
}

/* --- what is known --- */

struct entry *store_find(const struct token_store *s, const struct token *t)
{
    for (size_t i = 0; i < s->count; i++)
        if (s->entries[i].token == t)
            return (struct entry *)(uintptr_t)&s->entries[i];
    return NULL;
}

enum token_verdict store_judge(const struct token_knowledge *k)
{
    if (k->refused > k->accepted)
        return TOKEN_REFUSED;
    return k->accepted != NEVER ? TOKEN_ACCEPTED : TOKEN_UNTESTED;
}

enum token_verdict store_answer(const struct entry *e)
{
    return store_judge(&e->knowledge);
}

enum token_verdict store_verdict(const struct entry *e)
{
    return e->expired ? TOKEN_EXPIRED : store_answer(e);
}

bool token_store_any_accepted(const struct token_store *s)
{
    for (size_t i = 0; i < s->count; i++)
        if (store_answer(&s->entries[i]) == TOKEN_ACCEPTED)
            return true;
    return false;
}

bool token_store_usable(const struct token_store *s)
{
    return s->count > 0;
}

/* Takes the later fact of each kind. True if that changed the verdict, `since` is then `when`. */
static bool fold(struct token_knowledge *k, const struct token_knowledge *facts, msec when)
{
    enum token_verdict before = store_judge(k);
    k->accepted = later(k->accepted, facts->accepted);
    k->refused = later(k->refused, facts->refused);
    k->tried = later(k->tried, facts->tried);
    if (store_judge(k) == before)
        return false;
    k->since = when;
    return true;
}

bool token_store_learn(struct token_store *s, const struct token *t, const struct token_fact *fact)
{
    struct entry *e = store_find(s, t);
    if (e == NULL || fact->answer == TOKEN_ANSWER_NOTHING)
        return false;
    e->probe_spoke = true;
    struct token_knowledge facts = {.accepted = NEVER, .refused = NEVER, .tried = NEVER, .since = NEVER};
    if (fact->answer == TOKEN_ANSWER_ACCEPTED) {
        facts.accepted = fact->arrived;
    } else {
        facts.refused = fact->sent;
        facts.tried = fact->arrived;
    }
    return fold(&e->knowledge, &facts, fact->arrived);
}

unsigned store_merge(struct entry *e, const struct token_knowledge *theirs)
{
    unsigned news = fold(&e->knowledge, theirs, theirs->since) ? TOKEN_NEWS_CHANGED : TOKEN_NEWS_NONE;
    if (store_answer(e) != store_judge(theirs))
        news |= TOKEN_NEWS_BEHIND;
    return news;
}

/* --- what is held --- */

/* What a full house gives up first: the smaller, the sooner. */
static int usefulness(const struct entry *e)
{
    switch (store_verdict(e)) {
    case TOKEN_ACCEPTED:
        return 2;
    case TOKEN_UNTESTED:
        return 1;
    default:
        return 0;
    }
}

static void drop(struct token_store *s, size_t i)
{
    token_unref(&s->entries[i].token);
    memmove(&s->entries[i], &s->entries[i + 1], (s->count - i - 1) * sizeof s->entries[0]);
    s->count--;
}

/* Among entries[from..count): the least useful, of those the last. */
static size_t least_useful(const struct entry *entries, size_t from, size_t count)
{
    size_t least = from;
    for (size_t i = from; i < count; i++)
        if (usefulness(&entries[i]) <= usefulness(&entries[least]))
            least = i;
    return least;
}

static bool any_twice(struct token *const *tokens, size_t count)
{
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < i; j++)
            if (token_equal(tokens[i], tokens[j]))
                return true;
    return false;
}

/* Moves the held entry of that secret out of `held`, or makes a new one. */
static struct entry take_entry(struct entry *held, size_t count, struct token *t)
{
    for (size_t i = 0; i < count; i++) {
        if (held[i].token == NULL || !token_equal(held[i].token, t))
            continue;
        struct entry e = held[i];
        held[i].token = NULL;
        e.in_file = true;
        e.vanished = NEVER;
        if (e.token != t)
            token_set_expires(e.token, token_expires(t));
        return e;
    }
    return (struct entry){.token = token_ref(t),
                          .in_file = true,
                          .vanished = NEVER,
                          .knowledge = {NEVER, NEVER, NEVER, NEVER},
                          .taken = NEVER,
                          .probed = NEVER};
}

enum pp_result token_store_replace(struct token_store *s, struct token *const *tokens, size_t count, msec now,
                                   int64_t wall)
{
    if (count == 0 || count > LIMIT_TOKENS_FILE || any_twice(tokens, count))
        return PP_INVALID;

    struct entry all[LIMIT_TOKENS_FILE + LIMIT_TOKENS_HELD];
    struct entry held[LIMIT_TOKENS_HELD];
    size_t n = 0;
    memcpy(held, s->entries, s->count * sizeof held[0]);
    for (size_t i = 0; i < count; i++)
        all[n++] = take_entry(held, s->count, tokens[i]);
    for (int vanished_before = 0; vanished_before < 2; vanished_before++) { /* those of today are the latest */
        for (size_t i = 0; i < s->count; i++) {
            if (held[i].token == NULL || held[i].in_file == (vanished_before == 1))
                continue;
            if (held[i].in_file)
                held[i].vanished = now;
            held[i].in_file = false;
            all[n++] = held[i];
            held[i].token = NULL;
        }
    }
    while (n > LIMIT_TOKENS_HELD) {
        size_t i = least_useful(all, count, n);
        token_unref(&all[i].token);
        memmove(&all[i], &all[i + 1], (n - i - 1) * sizeof all[0]);
        n--;
    }
    memcpy(s->entries, all, n * sizeof all[0]);
    s->count = n;
    (void)token_store_expire(s, now, wall);
    return PP_OK;
}

msec store_grace_ends(const struct token_store *s, const struct entry *e)
{
    if (e->in_file || s->policy.grace > MSEC_NEVER - e->vanished)
        return MSEC_NEVER;
    return e->vanished + s->policy.grace;
}

bool token_store_expire(struct token_store *s, msec now, int64_t wall)
{
    bool changed = false;
    for (size_t i = 0; i < s->count;) {
        struct entry *e = &s->entries[i];
        if (store_grace_ends(s, e) <= now) {
            drop(s, i);
            changed = true;
            continue;
        }
        int64_t expires = token_expires(e->token);
        bool expired = expires != 0 && expires <= wall;
        changed |= expired != e->expired;
        e->expired = expired;
        i++;
    }
    return changed;
}

/* --- which one a request tries --- */

/* Smaller goes first; equal ranks go by position. */
static int entry_rank(const struct entry *e)
{
    switch (store_verdict(e)) {
    case TOKEN_ACCEPTED:
        return 0;
    case TOKEN_UNTESTED:
        return 1;
    case TOKEN_EXPIRED:
        return store_answer(e) == TOKEN_REFUSED ? 3 : 2;
    default:
        return 3;
    }
}

int store_rank(const struct token_store *s, const struct entry *e)
{
    int rank = entry_rank(e);
    /* Nobody else would ever try it. */
    return rank == 1 && s->policy.probe_interval == 0 && e->in_file ? 0 : rank;
}

static bool was_tried(const struct token_plan *plan, const struct token *t)
{
    for (size_t i = 0; i < plan->count; i++)
        if (plan->tried[i] == token_identity(t))
            return true;
    return false;
}

static msec backoff_most(const struct token_store *s)
{
    msec interval = s->policy.probe_interval;
    msec most = interval > 0 && interval < BACKOFF_MOST ? interval : BACKOFF_MOST;
    return token_store_any_accepted(s) ? most : earlier(most, BACKOFF_FIRST);
}

/* As long again as it has been refused: tries of a token that stays refused come after 1, 2, 4 ... s. */
msec store_backoff(const struct token_store *s, const struct entry *e)
{
    const struct token_knowledge *k = &e->knowledge;
    return earlier(later(k->tried - k->since, BACKOFF_FIRST), backoff_most(s));
}

msec store_next_try(const struct token_store *s, const struct entry *e)
{
    return later(e->knowledge.tried, e->taken) + store_backoff(s, e);
}

static const struct entry *accepted_last(const struct token_store *s)
{
    const struct entry *last = NULL;
    for (size_t i = 0; i < s->count; i++) {
        const struct entry *e = &s->entries[i];
        if (e->knowledge.accepted != NEVER && (last == NULL || e->knowledge.accepted > last->knowledge.accepted))
            last = e;
    }
    return last;
}

static struct token *hand_out(struct token_plan *plan, const struct entry *e)
{
    plan->tried[plan->count++] = token_identity(e->token);
    return e->token;
}

struct token *token_store_next(struct token_store *s, struct token_plan *plan, msec now)
{
    struct entry *best = NULL;
    int best_rank = 0;
    if (plan->count == LIMIT_TOKENS_HELD)
        return NULL;
    for (size_t i = 0; i < s->count; i++) {
        struct entry *e = &s->entries[i];
        int rank = store_rank(s, e);
        if (!was_tried(plan, e->token) && (best == NULL || rank < best_rank)) {
            best = e;
            best_rank = rank;
        }
    }
    if (best == NULL)
        return NULL;
    bool first = plan->count == 0;
    if (first)
        plan->all_refused = best_rank == 3;
    if (!plan->all_refused || first || best_rank < 3)
        return hand_out(plan, best);

    if (plan->count == 1) {
        const struct entry *last = accepted_last(s);
        return hand_out(plan, last != NULL && !was_tried(plan, last->token) ? last : best);
    }
    for (size_t i = 0; i < s->count; i++) {
        struct entry *e = &s->entries[i];
        if (was_tried(plan, e->token) || store_next_try(s, e) > now)
            continue;
        e->taken = now; /* other requests under way must not take it too */
        return hand_out(plan, e);
    }
    return NULL;
}
