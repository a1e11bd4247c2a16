/* Requests of apps: each attempt goes where it should, and a 401 reaches the app only when it must. */
#include "process.h"

static void send_attempt(struct process *p, struct request *r, struct token *t)
{
    struct world *w = p->world;
    unsigned number = process_number(t), k = r->worker;
    if ((r->tried >> number & 1) != 0)
        fail("a request tries token %u twice", number);
    if (r->all_refused && r->tries >= 2 && oracle_belief(&p->oracle, k, number) == TOKEN_REFUSED) {
        msec backoff = p->least_interval != 0 && p->least_interval < 1000 ? p->least_interval : 1000;
        if (p->now < p->handed_out[k][number] + backoff ||
            p->now < oracle_latest(&p->oracle, k, number, false) + backoff)
            fail("worker %u tries refused token %u again too early", k, number);
        p->handed_out[k][number] = p->now;
    }
    r->tried |= UINT32_C(1) << number;
    r->tries++;
    r->token = token_ref(t);
    r->number = number;
    r->sent = p->now;
    msec looked_at = p->now + rng_below(&w->rng, w->latency + 1);
    r->status = world_answer(w, number, looked_at);
    trace("%lld worker %u tries token %u, will get %d", (long long)p->now, k, number, r->status);
    queue_put(&w->queue, looked_at + rng_below(&w->rng, w->latency + 1), EVENT_ANSWER, (unsigned)(r - p->requests));
}

void process_request(struct process *p, unsigned worker)
{
    const struct holdings *held = &p->oracle.held[worker];
    struct request *r = NULL;
    for (unsigned i = 0; i < PROCESS_REQUESTS && r == NULL; i++)
        if (!p->requests[i].used)
            r = &p->requests[i];
    if (r == NULL)
        fail("too many requests under way");
    *r = (struct request){.worker = worker, .start = p->now, .all_refused = true};
    for (size_t i = 0; i < held->count; i++)
        r->all_refused &= oracle_belief(&p->oracle, worker, held->items[i].token) == TOKEN_REFUSED;

    unsigned expected = oracle_first_choice(&p->oracle, worker, p->policy.probe_interval != 0);
    struct token *t = token_store_next(p->stores[worker], &r->plan, p->now);
    if ((t == NULL) != (expected == WORLD_TOKENS))
        fail("worker %u: a first token where none is held, or none where one is", worker);
    if (t == NULL)
        return;
    if (process_number(t) != expected)
        fail("worker %u tries token %u first, not %u", worker, process_number(t), expected);
    r->used = true;
    send_attempt(p, r, t);
}

/* The app gets a 401: was that right? */
static void check_refusal(struct process *p, const struct request *r)
{
    unsigned k = r->worker;
    const struct holdings *held = &p->oracle.held[k];
    bool any_accepted = oracle_any_accepted(&p->oracle, k);
    if (r->tries == LIMIT_TOKENS_HELD) /* new tokens came as it walked; enough is enough */
        return;
    for (size_t i = 0; i < held->count; i++) {
        unsigned number = held->items[i].token;
        p->checks++;
        if ((r->tried >> number & 1) != 0)
            continue; /* it was refused in this very request */
        if (!r->all_refused)
            fail("worker %u gives a 401 to the app without trying token %u", k, number);
        if (oracle_belief(&p->oracle, k, number) != TOKEN_REFUSED)
            fail("worker %u gives a 401 to the app without trying token %u, not known to be refused", k, number);
        if (r->tries < 2)
            fail("worker %u gives a 401 to the app after one try, with token %u held", k, number);
        msec refused = oracle_latest(&p->oracle, k, number, false), handed_out = p->handed_out[k][number];
        msec last = refused > handed_out ? refused : handed_out, most = any_accepted ? 60000 : 1000;
        if (p->now >= last + most)
            fail("worker %u gives a 401 to the app, token %u not tried for %lld ms", k, number,
                 (long long)(p->now - last));
    }
}

void process_answer(struct process *p, struct request *r)
{
    unsigned k = r->worker;
    enum token_answer answer = token_answer_of(r->status);
    bool held = process_holds(p, k, r->token);
    enum token_verdict before = oracle_belief(&p->oracle, k, r->number);
    if (held && answer != TOKEN_ANSWER_NOTHING)
        oracle_fact(&p->oracle, k, r->number, answer == TOKEN_ANSWER_ACCEPTED, r->sent, p->now);
    bool should = held && oracle_belief(&p->oracle, k, r->number) != before;
    struct token_fact fact = {answer, r->sent, p->now};
    bool changed = token_store_learn(p->stores[k], r->token, &fact);
    if (changed != should)
        fail("worker %u: status %d changes the verdict of token %u: %d", k, r->status, r->number, changed);
    process_check(p, k);
    if (changed)
        process_tell_master(p, k, r->token);

    struct token *next = NULL;
    if (r->status == 401)
        next = token_store_next(p->stores[k], &r->plan, p->now);
    token_unref(&r->token);
    if (next != NULL) {
        send_attempt(p, r, next);
        return;
    }
    if (r->status == 401)
        check_refusal(p, r);
    r->used = false;
}
