/* The rules of rotation: verdicts, order of use, back-off, grace. */
#include "token/store.h"

#include <stdlib.h>

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

static enum token_verdict knowledge_verdict(const struct token_knowledge *k)
{
    if (k->refused > k->accepted)
        return TOKEN_REFUSED;
    return k->accepted != NEVER ? TOKEN_ACCEPTED : TOKEN_UNTESTED;
}

static enum token_verdict entry_answer(const struct entry *e)
{
    return knowledge_verdict(&e->knowledge);
}

static enum token_verdict entry_verdict(const struct entry *e)
{
    return e->expired ? TOKEN_EXPIRED : entry_answer(e);
}

static struct entry *find_entry(struct token_store *s, const struct token *t)
{
    for (size_t i = 0; i < s->count; i++)
        if (s->entries[i].token == t)
            return &s->entries[i];
    return NULL;
}

static const struct entry *find_entry_const(const struct token_store *s, const struct token *t)
{
    for (size_t i = 0; i < s->count; i++)
        if (s->entries[i].token == t)
            return &s->entries[i];
    return NULL;
}

bool token_store_any_accepted(const struct token_store *s)
{
    for (size_t i = 0; i < s->count; i++)
        if (entry_answer(&s->entries[i]) == TOKEN_ACCEPTED)
            return true;
    return false;
}

bool token_store_usable(const struct token_store *s)
{
    return s->count > 0;
}

static msec later(msec a, msec b)
{
    return a > b ? a : b;
}

static msec earlier(msec a, msec b)
{
    return a < b ? a : b;
}

/* Takes the later fact of each kind. True if that changed the verdict, `since` is then `when`. */
static bool fold(struct token_knowledge *k, const struct token_knowledge *facts, msec when)
{
    enum token_verdict before = knowledge_verdict(k);
    k->accepted = later(k->accepted, facts->accepted);
    k->refused = later(k->refused, facts->refused);
    k->tried = later(k->tried, facts->tried);
    if (knowledge_verdict(k) == before)
        return false;
    k->since = when;
    return true;
}

bool token_store_learn(struct token_store *s, const struct token *t, const struct token_fact *fact)
{
    struct entry *e = find_entry(s, t);
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

bool token_store_knowledge(const struct token_store *s, const struct token *t, struct token_knowledge *out)
{
    const struct entry *e = find_entry_const(s, t);
    if (e != NULL)
        *out = e->knowledge;
    return e != NULL;
}

static unsigned merge(struct entry *e, const struct token_knowledge *theirs)
{
    unsigned news = fold(&e->knowledge, theirs, theirs->since) ? TOKEN_NEWS_CHANGED : TOKEN_NEWS_NONE;
    if (entry_answer(e) != knowledge_verdict(theirs))
        news |= TOKEN_NEWS_BEHIND;
    return news;
}

unsigned token_store_merge(struct token_store *s, const struct token *t, const struct token_knowledge *theirs)
{
    struct entry *e = find_entry(s, t);
    return e == NULL ? TOKEN_NEWS_NONE : merge(e, theirs);
}

/* --- what is held --- */

/* What a full house gives up first: the smaller, the sooner. */
static int usefulness(const struct entry *e)
{
    switch (entry_verdict(e)) {
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

static msec grace_ends(const struct token_store *s, const struct entry *e)
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
        if (grace_ends(s, e) <= now) {
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
    switch (entry_verdict(e)) {
    case TOKEN_ACCEPTED:
        return 0;
    case TOKEN_UNTESTED:
        return 1;
    case TOKEN_EXPIRED:
        return entry_answer(e) == TOKEN_REFUSED ? 3 : 2;
    default:
        return 3;
    }
}

static int use_rank(const struct token_store *s, const struct entry *e)
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
static msec backoff(const struct token_store *s, const struct entry *e)
{
    const struct token_knowledge *k = &e->knowledge;
    return earlier(later(k->tried - k->since, BACKOFF_FIRST), backoff_most(s));
}

static msec next_try(const struct token_store *s, const struct entry *e)
{
    return later(e->knowledge.tried, e->taken) + backoff(s, e);
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
        int rank = use_rank(s, e);
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
        if (was_tried(plan, e->token) || next_try(s, e) > now)
            continue;
        e->taken = now; /* other requests under way must not take it too */
        return hand_out(plan, e);
    }
    return NULL;
}

/* --- between replicas --- */

void token_store_snapshot(const struct token_store *s, struct token_snapshot *out)
{
    out->policy = s->policy;
    out->count = s->count;
    for (size_t i = 0; i < s->count; i++) {
        const struct entry *e = &s->entries[i];
        out->items[i] = (struct token_snapshot_item){.token = token_ref(e->token),
                                                     .in_file = e->in_file,
                                                     .expired = e->expired,
                                                     .vanished = e->vanished,
                                                     .knowledge = e->knowledge};
    }
}

void token_snapshot_copy(const struct token_snapshot *from, struct token_snapshot *to)
{
    *to = *from;
    for (size_t i = 0; i < to->count; i++)
        (void)token_ref(to->items[i].token);
}

void token_snapshot_clear(struct token_snapshot *snapshot)
{
    for (size_t i = 0; i < snapshot->count; i++)
        token_unref(&snapshot->items[i].token);
    snapshot->count = 0;
}

void token_store_adopt(struct token_store *s, const struct token_snapshot *snapshot, uint32_t *behind)
{
    struct token_store old = *s;
    *behind = 0;
    s->policy = snapshot->policy;
    s->count = snapshot->count;
    for (size_t i = 0; i < snapshot->count; i++) {
        const struct token_snapshot_item *item = &snapshot->items[i];
        struct entry *e = &s->entries[i];
        const struct entry *known = find_entry_const(&old, item->token);
        if (known != NULL)
            *e = *known;
        else
            *e = (struct entry){.knowledge = item->knowledge, .taken = NEVER, .probed = NEVER};
        e->token = token_ref(item->token);
        e->in_file = item->in_file;
        e->expired = item->expired;
        e->vanished = item->vanished;
        if ((merge(e, &item->knowledge) & TOKEN_NEWS_BEHIND) != 0)
            *behind |= UINT32_C(1) << i;
    }
    for (size_t i = 0; i < old.count; i++)
        token_unref(&old.entries[i].token);
}

/* --- probes --- */

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
    if (entry_answer(e) == TOKEN_REFUSED) {
        from = later(from, e->knowledge.tried);
        wait = e->lost > 0 ? later(wait, backoff(s, e)) : backoff(s, e);
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
    struct entry *e = find_entry(s, t);
    if (e == NULL)
        return;
    e->probing = false;
    e->probed = now;
    e->jitter = jitter & 1023;
    e->lost = e->probe_spoke ? 0 : e->lost + 1;
}

msec token_store_next_event(const struct token_store *s, msec now, int64_t wall)
{
    msec next = MSEC_NEVER;
    for (size_t i = 0; i < s->count; i++) {
        const struct entry *e = &s->entries[i];
        int64_t expires = token_expires(e->token);
        next = earlier(next, earlier(probe_time(s, e), grace_ends(s, e)));
        if (expires != 0 && !e->expired)
            next = earlier(next, expires > wall ? now + (expires - wall) : now);
    }
    return later(next, now);
}

/* --- what is held, for people --- */

static const struct entry *current_entry(const struct token_store *s)
{
    const struct entry *best = NULL;
    for (size_t i = 0; i < s->count; i++)
        if (best == NULL || use_rank(s, &s->entries[i]) < use_rank(s, best))
            best = &s->entries[i];
    return best;
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
        bool refused = entry_answer(e) == TOKEN_REFUSED;
        out[i] = (struct token_info){.token = e->token,
                                     .role = role,
                                     .verdict = entry_verdict(e),
                                     .accepted = entry_answer(e) == TOKEN_ACCEPTED,
                                     .in_file = e->in_file,
                                     .since = e->knowledge.since,
                                     .tried = e->knowledge.tried,
                                     .next_try = refused ? next_try(s, e) : NEVER,
                                     .vanished = e->vanished,
                                     .grace_ends = grace_ends(s, e)};
    }
    return s->count;
}

msec token_store_retired_since(const struct token_store *s, const struct token *t)
{
    const struct entry *e = find_entry_const(s, t);
    if (e == NULL)
        return 0;
    return e->in_file || e == current_entry(s) ? MSEC_NEVER : e->vanished;
}
