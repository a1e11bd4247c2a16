/* The daemon's side of a timeline, each step held against the oracle. */
#include "process.h"

#define MASTER ORACLE_MASTER

int64_t process_wall(const struct process *p)
{
    return p->now + p->wall_offset;
}

unsigned process_number(const struct token *t)
{
    struct str a = token_authorization(t); /* "Bearer token-NN" */
    return (unsigned)(a.p[a.n - 2] - '0') * 10 + (unsigned)(a.p[a.n - 1] - '0');
}

/* A secret that was dropped and is back in the file is another object, of which nothing is known. */
bool process_holds(const struct process *p, unsigned k, const struct token *t)
{
    struct token_knowledge knowledge;
    return token_store_knowledge(p->stores[k], t, &knowledge);
}

/* --- comparing a store with the oracle --- */

void process_check(struct process *p, unsigned k)
{
    struct token_info list[LIMIT_TOKENS_HELD];
    const struct holdings *held = &p->oracle.held[k];
    size_t n = token_store_list(p->stores[k], list);
    unsigned current = k == MASTER ? oracle_first_choice(&p->oracle, k, p->policy.probe_interval != 0) : 0;
    if (n != held->count)
        fail("knower %u holds %zu tokens, should hold %zu", k, n, held->count);
    for (size_t i = 0; i < n; i++) {
        const struct holding *h = &held->items[i];
        enum token_verdict belief = oracle_belief(&p->oracle, k, h->token);
        if (process_number(list[i].token) != h->token)
            fail("knower %u has token %u in place %zu, not %u", k, process_number(list[i].token), i, h->token);
        if (list[i].in_file != h->in_file || list[i].vanished != h->vanished)
            fail("knower %u is wrong about token %u being in the file", k, h->token);
        enum token_verdict expected = h->expired ? TOKEN_EXPIRED : belief;
        if (list[i].verdict != expected)
            fail("knower %u takes token %u for %s, not %s", k, h->token, token_verdict_name(list[i].verdict),
                 token_verdict_name(expected));
        if (list[i].accepted != (belief == TOKEN_ACCEPTED))
            fail("knower %u is wrong about token %u being accepted", k, h->token);
        if (k == MASTER && (list[i].role == TOKEN_CURRENT) != (h->token == current))
            fail("token %u has role %s", h->token, token_role_name(list[i].role));
        p->checks++;
    }
    if (k != MASTER)
        return;
    for (unsigned t = 0; t < p->world->tokens; t++) {
        if (!oracle_holds(&p->oracle, MASTER, t))
            p->probed[t] = (struct probed){NULL, false, false, 0};
        bool refused = oracle_holds(&p->oracle, MASTER, t) && oracle_belief(&p->oracle, MASTER, t) == TOKEN_REFUSED;
        if (!refused)
            p->refused_since[t] = -1;
        else if (p->refused_since[t] < 0)
            p->refused_since[t] = p->now;
    }
}

/* --- messages --- */

static struct letter *new_letter(struct process *p, unsigned worker, bool up)
{
    for (unsigned i = 0; i < PROCESS_MESSAGES; i++) {
        struct letter *l = &p->letters[i];
        if (l->used)
            continue;
        l->used = true;
        l->up = up;
        l->worker = worker;
        msec *channel = &p->channel[2 * worker + (up ? 1 : 0)];
        msec at = p->now + rng_below(&p->world->rng, p->world->delay + 1);
        *channel = at > *channel ? at : *channel;
        queue_put(&p->world->queue, *channel, EVENT_MESSAGE, i);
        return l;
    }
    fail("too many messages under way");
}

void process_tell_master(struct process *p, unsigned worker, struct token *t)
{
    struct letter *l = new_letter(p, worker, true);
    l->token = token_ref(t);
    l->number = process_number(t);
    if (!token_store_knowledge(p->stores[worker], t, &l->knowledge))
        fail("a held token is unknown");
    oracle_said(&p->oracle, worker, l->number, &l->said);
}

static void tell_worker(struct process *p, unsigned worker)
{
    struct letter *l = new_letter(p, worker, false);
    token_store_snapshot(p->stores[MASTER], &l->snapshot);
    l->holdings = p->oracle.held[MASTER];
    oracle_said(&p->oracle, MASTER, WORLD_TOKENS, &l->said);
}

void process_tell_workers(struct process *p)
{
    for (unsigned i = 0; i < p->world->replicas; i++)
        tell_worker(p, i);
}

static void letter_arrives(struct process *p, struct letter *l)
{
    if (l->up) {
        unsigned news = token_store_merge(p->stores[MASTER], l->token, &l->knowledge);
        if (process_holds(p, MASTER, l->token))
            oracle_hear(&p->oracle, MASTER, &l->said);
        process_check(p, MASTER);
        token_unref(&l->token);
        if ((news & TOKEN_NEWS_CHANGED) != 0)
            process_tell_workers(p);
        else if ((news & TOKEN_NEWS_BEHIND) != 0)
            tell_worker(p, l->worker);
        process_run_master(p);
    } else {
        uint32_t behind = 0;
        for (size_t i = 0; i < l->snapshot.count; i++)
            if (!process_holds(p, l->worker, l->snapshot.items[i].token)) {
                unsigned number = process_number(l->snapshot.items[i].token);
                oracle_forget_token(&p->oracle, l->worker, number);
                p->handed_out[l->worker][number] = -1000000;
            }
        token_store_adopt(p->stores[l->worker], &l->snapshot, &behind);
        p->oracle.held[l->worker] = l->holdings;
        oracle_forget(&p->oracle, l->worker);
        oracle_hear(&p->oracle, l->worker, &l->said);
        process_check(p, l->worker);
        for (size_t i = 0; i < l->snapshot.count; i++)
            if ((behind >> i & 1) != 0)
                process_tell_master(p, l->worker, l->snapshot.items[i].token);
        token_snapshot_clear(&l->snapshot);
    }
    l->used = false;
}

/* --- the main thread --- */

static void check_probe(const struct process *p, unsigned number)
{
    const struct probed *probe = &p->probed[number];
    const struct oracle *o = &p->oracle;
    msec interval = p->policy.probe_interval, first = interval < 1000 ? interval : 1000;
    if (interval == 0)
        fail("a probe although probing is off");
    if (probe->running != NULL)
        fail("two probes of token %u at once", number);
    if (!probe->ever)
        return;
    msec waited = p->now - probe->ended;
    if (oracle_belief(o, MASTER, number) == TOKEN_REFUSED) {
        msec tried = oracle_latest(o, MASTER, number, false), cap = interval < 60000 ? interval : 60000;
        msec expected = tried - p->refused_since[number] > first ? tried - p->refused_since[number] : first;
        if (expected > cap)
            expected = cap;
        if (!oracle_any_accepted(o, MASTER))
            expected = first;
        if (p->now - tried < expected)
            fail("refused token %u probed after %lld ms, not %lld", number, (long long)(p->now - tried),
                 (long long)expected);
    } else if (waited < (probe->answered ? interval : first)) {
        fail("token %u probed after %lld ms", number, (long long)waited);
    }
}

/* No probe is forgotten. */
static void check_probes_late(const struct process *p)
{
    const struct oracle *o = &p->oracle;
    const struct holdings *held = &o->held[MASTER];
    msec interval = p->policy.probe_interval;
    if (interval == 0 || p->least_interval != interval) /* after a change of policy the old one explains some waits */
        return;
    for (size_t i = 0; i < held->count; i++) {
        unsigned number = held->items[i].token;
        const struct probed *probe = &p->probed[number];
        if (probe->running != NULL)
            continue;
        if (!probe->ever)
            fail("token %u was not probed at once", number);
        msec from = probe->ended, tried = oracle_latest(o, MASTER, number, false), wait = interval;
        if (oracle_belief(o, MASTER, number) == TOKEN_REFUSED) {
            from = tried > from ? tried : from;
            if (!oracle_any_accepted(o, MASTER) && probe->answered && interval > 1000)
                wait = 1000;
        }
        if (p->now > from + wait + wait / 10 + 1)
            fail("token %u was not probed for %lld ms", number, (long long)(p->now - from));
    }
}

void process_run_master(struct process *p)
{
    struct world *w = p->world;
    struct token_store *s = p->stores[MASTER];
    struct holdings before = p->oracle.held[MASTER];
    oracle_expire(&p->oracle, p->policy.grace, p->expires, p->now, process_wall(p));
    bool should = before.count != p->oracle.held[MASTER].count;
    for (size_t i = 0; i < before.count && !should; i++)
        should = before.items[i].expired != p->oracle.held[MASTER].items[i].expired;
    bool changed = token_store_expire(s, p->now, process_wall(p));
    if (changed != should)
        fail("the clock changes what is held: %d", changed);
    process_check(p, MASTER);
    if (changed)
        process_tell_workers(p);
    if (p->now > p->last_probe)
        return;
    for (struct token *t; (t = token_store_probe_due(s, p->now)) != NULL;) {
        unsigned number = process_number(t);
        check_probe(p, number);
        unsigned i = 0;
        while (i < PROCESS_PROBES && p->probes[i].token != NULL)
            i++;
        if (i == PROCESS_PROBES)
            fail("too many probes under way");
        msec looked_at = p->now + rng_below(&w->rng, w->latency + 1);
        p->probes[i] = (struct probe){token_ref(t), number, world_answer(w, number, looked_at), p->now};
        p->probed[number].running = t;
        p->probed[number].ever = true;
        trace("%lld probe of token %u, will get %d", (long long)p->now, number, p->probes[i].status);
        queue_put(&w->queue, looked_at + rng_below(&w->rng, w->latency + 1), EVENT_PROBED, i);
    }
    check_probes_late(p);
    msec next = token_store_next_event(s, p->now, process_wall(p));
    if (next <= p->now)
        fail("the main thread has work left for now");
    if (next != MSEC_NEVER && (p->timer == MSEC_NEVER || p->timer <= p->now || next < p->timer)) {
        p->timer = next;
        queue_put(&w->queue, next, EVENT_MAIN, 0);
    }
}

static void probe_ends(struct process *p, struct probe *probe)
{
    struct token_store *s = p->stores[MASTER];
    struct probed *probed = &p->probed[probe->number];
    bool held = probed->running == probe->token; /* else it was dropped in the meantime */
    enum token_answer answer = token_answer_of(probe->status);
    enum token_verdict before = oracle_belief(&p->oracle, MASTER, probe->number);
    if (held) {
        *probed = (struct probed){NULL, true, answer != TOKEN_ANSWER_NOTHING, p->now};
        if (answer != TOKEN_ANSWER_NOTHING)
            oracle_fact(&p->oracle, MASTER, probe->number, answer == TOKEN_ANSWER_ACCEPTED, probe->sent, p->now);
    }
    struct token_fact fact = {answer, probe->sent, p->now};
    bool changed = token_store_learn(s, probe->token, &fact);
    if (changed != (oracle_belief(&p->oracle, MASTER, probe->number) != before))
        fail("a probe of token %u with status %d changes its verdict: %d", probe->number, probe->status, changed);
    token_store_probed(s, probe->token, p->now, rng_below(&p->world->rng, 1024));
    token_unref(&probe->token);
    process_check(p, MASTER);
    if (changed)
        process_tell_workers(p);
}

/* --- life --- */

static void drop_all(struct process *p)
{
    for (unsigned i = 0; i < PROCESS_REQUESTS; i++) {
        if (p->requests[i].used)
            token_unref(&p->requests[i].token);
        p->requests[i].used = false;
    }
    for (unsigned i = 0; i < PROCESS_PROBES; i++)
        token_unref(&p->probes[i].token);
    for (unsigned i = 0; i < PROCESS_MESSAGES; i++) {
        if (p->letters[i].used && p->letters[i].up)
            token_unref(&p->letters[i].token);
        else if (p->letters[i].used)
            token_snapshot_clear(&p->letters[i].snapshot);
        p->letters[i].used = false;
    }
    for (unsigned k = 0; k < ORACLE_KNOWERS; k++) {
        token_store_free(p->stores[k]);
        p->stores[k] = NULL;
    }
}

static void set_up(struct process *p)
{
    oracle_reset(&p->oracle);
    p->timer = MSEC_NEVER;
    p->least_interval = p->policy.probe_interval;
    memset(p->probed, 0, sizeof p->probed);
    memset(p->channel, 0, sizeof p->channel);
    for (unsigned t = 0; t < WORLD_TOKENS; t++) {
        p->refused_since[t] = -1;
        for (unsigned i = 0; i < WORLD_REPLICAS; i++)
            p->handed_out[i][t] = -1000000;
    }
    for (unsigned k = 0; k < ORACLE_KNOWERS; k++) {
        p->stores[k] = token_store_new(&p->policy);
        if (p->stores[k] == NULL)
            fail("out of memory");
    }
    if (p->file_count > 0)
        process_read_file(p, p->file, p->file_count);
}

static void choose_policy(struct process *p)
{
    struct rng *rng = &p->world->rng;
    msec graces[] = {0, 2000, 30000, 86400000}, least = p->world->end / 40;
    msec intervals[] = {0, 500, 5000, 60000};
    p->policy.grace = graces[rng_below(rng, 4)];
    p->policy.probe_interval = intervals[rng_below(rng, 4)];
    if (p->world->tokens == WORLD_TOKENS && p->policy.probe_interval > 5000)
        p->policy.probe_interval = 5000; /* many at once, not for long: the oracle remembers every answer */
    if (p->policy.probe_interval != 0 && p->policy.probe_interval < least)
        p->policy.probe_interval = least;
}

static void change_policy(struct process *p)
{
    bool probing = p->policy.probe_interval != 0;
    choose_policy(p);
    if (probing != (p->policy.probe_interval != 0)) /* the oracle knows one answer to "is probing on" for everybody */
        p->policy.probe_interval = probing ? 5000 : 0;
    if (p->policy.probe_interval < p->least_interval)
        p->least_interval = p->policy.probe_interval;
    token_store_set_policy(p->stores[MASTER], &p->policy);
    process_tell_workers(p);
    process_run_master(p);
}

void process_start(struct process *p, struct world *w)
{
    p->world = w;
    p->now = 0;
    p->wall_offset = 1700000000000;
    p->last_probe = MSEC_NEVER;
    p->file_count = rng_chance(&w->rng, 90) ? 1 : 0;
    p->file[0] = 0;
    memset(p->written, 0, sizeof p->written);
    memset(p->expires, 0, sizeof p->expires);
    memset(p->requests, 0, sizeof p->requests);
    memset(p->letters, 0, sizeof p->letters);
    memset(p->probes, 0, sizeof p->probes);
    choose_policy(p);
    set_up(p);
}

/* The main thread woke up whenever the clock alone changed something. */
static void check_clock(const struct process *p)
{
    const struct holdings *held = &p->oracle.held[MASTER];
    for (size_t i = 0; i < held->count && p->now <= p->last_probe; i++) {
        const struct holding *h = &held->items[i];
        if (!h->in_file && h->vanished + p->policy.grace < p->now)
            fail("the grace of token %u ended unnoticed", h->token);
        if (!h->expired && p->expires[h->token] != 0 && p->expires[h->token] < process_wall(p))
            fail("token %u expired unnoticed", h->token);
    }
}

void process_event(struct process *p, const struct event *e)
{
    p->now = e->at;
    check_clock(p);
    switch (e->kind) {
    case EVENT_REQUEST:
        process_request(p, e->a);
        break;
    case EVENT_ANSWER:
        process_answer(p, &p->requests[e->a]);
        break;
    case EVENT_PROBED:
        probe_ends(p, &p->probes[e->a]);
        process_run_master(p);
        break;
    case EVENT_MESSAGE:
        letter_arrives(p, &p->letters[e->a]);
        break;
    case EVENT_EDIT:
        process_edit_file(p);
        break;
    case EVENT_RESTART:
        drop_all(p);
        queue_drop_process(&p->world->queue);
        set_up(p);
        break;
    case EVENT_CLOCK:
        p->wall_offset += (int64_t)rng_below(&p->world->rng, 200000) - 100000;
        process_run_master(p);
        break;
    case EVENT_POLICY:
        change_policy(p);
        break;
    case EVENT_MAIN:
        if (p->timer == e->at)
            p->timer = MSEC_NEVER;
        process_run_master(p);
        break;
    }
}

void process_check_settled(struct process *p)
{
    const struct oracle *o = &p->oracle;
    const struct holdings *held = &o->held[MASTER];
    for (unsigned k = 0; k < p->world->replicas; k++) {
        struct token_info list[LIMIT_TOKENS_HELD], master[LIMIT_TOKENS_HELD];
        size_t n = token_store_list(p->stores[k], list);
        if (n != token_store_list(p->stores[MASTER], master))
            fail("in the end worker %u holds something else", k);
        for (size_t i = 0; i < n; i++)
            if (list[i].token != master[i].token || list[i].verdict != master[i].verdict)
                fail("in the end worker %u does not agree about token %u", k, process_number(list[i].token));
        /* A request now gets through if any token held is valid; with probing, at the first try. */
        struct token_plan plan = {.count = 0};
        struct token *t = token_store_next(p->stores[k], &plan, p->now);
        bool any_valid = false;
        for (size_t i = 0; i < held->count; i++)
            any_valid |= world_valid(p->world, held->items[i].token, p->now);
        while (any_valid && t != NULL && !world_valid(p->world, process_number(t), p->now)) {
            if (p->policy.probe_interval != 0)
                fail("in the end worker %u sends with token %u, which is not valid", k, process_number(t));
            t = token_store_next(p->stores[k], &plan, p->now);
        }
        if (any_valid && t == NULL)
            fail("in the end worker %u does not find the valid token", k);
    }
    for (size_t i = 0; i < held->count && p->policy.probe_interval != 0; i++) {
        unsigned number = held->items[i].token;
        bool valid = world_valid(p->world, number, p->now);
        if (oracle_belief(o, MASTER, number) != (valid ? TOKEN_ACCEPTED : TOKEN_REFUSED))
            fail("in the end token %u is taken for %s", number, token_verdict_name(oracle_belief(o, MASTER, number)));
    }
    if (live_secrets != (long)held->count)
        fail("%ld tokens in memory, %zu held", live_secrets, held->count);
}

void process_stop(struct process *p)
{
    drop_all(p);
    if (live_secrets != 0)
        fail("%ld tokens left in memory", live_secrets);
}
