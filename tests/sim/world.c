/* Random timelines: what happens when, and which token Proof takes. */
#include "world.h"

uint64_t rng_next(struct rng *r)
{
    uint64_t z = (r->state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

unsigned rng_below(struct rng *r, unsigned bound)
{
    return bound == 0 ? 0 : (unsigned)(rng_next(r) % bound);
}

bool rng_chance(struct rng *r, unsigned percent)
{
    return rng_below(r, 100) < percent;
}

static bool sooner(const struct event *a, const struct event *b)
{
    return a->at != b->at ? a->at < b->at : a->order < b->order;
}

static void swap(struct event *a, struct event *b)
{
    struct event c = *a;
    *a = *b;
    *b = c;
}

void queue_put(struct queue *q, msec at, enum event_kind kind, unsigned a)
{
    if (q->count == WORLD_EVENTS)
        fail("the queue of events is full");
    size_t i = q->count++;
    q->heap[i] = (struct event){at, q->order++, kind, a};
    for (; i > 0 && sooner(&q->heap[i], &q->heap[(i - 1) / 2]); i = (i - 1) / 2)
        swap(&q->heap[i], &q->heap[(i - 1) / 2]);
}

static void sink(struct queue *q, size_t i)
{
    for (;;) {
        size_t least = i;
        for (size_t child = 2 * i + 1; child <= 2 * i + 2; child++)
            if (child < q->count && sooner(&q->heap[child], &q->heap[least]))
                least = child;
        if (least == i)
            return;
        swap(&q->heap[i], &q->heap[least]);
        i = least;
    }
}

bool queue_take(struct queue *q, struct event *out)
{
    if (q->count == 0)
        return false;
    *out = q->heap[0];
    q->heap[0] = q->heap[--q->count];
    sink(q, 0);
    return true;
}

void queue_drop_process(struct queue *q)
{
    size_t kept = 0;
    for (size_t i = 0; i < q->count; i++) {
        enum event_kind kind = q->heap[i].kind;
        if (kind != EVENT_ANSWER && kind != EVENT_PROBED && kind != EVENT_MESSAGE && kind != EVENT_MAIN)
            q->heap[kept++] = q->heap[i];
    }
    q->count = kept;
    for (size_t i = kept / 2 + 1; i-- > 0;)
        sink(q, i);
}

/* Mostly lives that follow each other with an overlap, as in rotations; some with gaps, some that come back. */
static void make_lives(struct world *w)
{
    unsigned length = (unsigned)(w->end / (w->tokens + 1));
    for (unsigned t = 0; t < w->tokens; t++) {
        struct period *p = w->valid[t];
        msec from = (msec)t * length + rng_below(&w->rng, length) - length / 2;
        p[0] = (struct period){from, from + length / 2 + rng_below(&w->rng, 2 * length)};
        if (t == 0 || rng_chance(&w->rng, 10))
            p[0].from = -1;
        if (rng_chance(&w->rng, 15))
            p[0].until = MSEC_NEVER;
        else if (rng_chance(&w->rng, 10))
            p[0].until = p[0].from; /* never valid */
        msec back = p[0].until == MSEC_NEVER ? MSEC_NEVER : p[0].until + rng_below(&w->rng, length);
        p[1] = p[2] = (struct period){MSEC_NEVER, MSEC_NEVER};
        if (back != MSEC_NEVER && rng_chance(&w->rng, 20)) {
            p[1] = (struct period){back, back + rng_below(&w->rng, length)};
            if (rng_chance(&w->rng, 50))
                p[2] = (struct period){p[1].until + rng_below(&w->rng, 2000), MSEC_NEVER};
        }
    }
}

/* Nothing changes after the random part. */
static void end_changes(const struct world *w, struct period *p)
{
    if (p->from > w->end)
        p->from = p->until = MSEC_NEVER;
    else if (p->until > w->end)
        p->until = MSEC_NEVER;
}

void world_make(struct world *w, uint64_t seed)
{
    static const unsigned latencies[] = {0, 1, 20, 300, 3000}, delays[] = {0, 1, 50, 2000};
    static const msec ends[] = {3000, 20000, 20000, 120000};

    w->rng.state = seed;
    w->queue.count = 0;
    w->queue.order = 0;
    w->tokens = rng_chance(&w->rng, 3) ? WORLD_TOKENS : 1 + rng_below(&w->rng, 6);
    w->replicas = 1 + rng_below(&w->rng, WORLD_REPLICAS);
    w->faults = rng_chance(&w->rng, 40);
    w->flapping = rng_chance(&w->rng, 10);
    w->latency = latencies[rng_below(&w->rng, 5)];
    w->delay = delays[rng_below(&w->rng, 4)];
    w->end = ends[rng_below(&w->rng, 4)];
    if (w->tokens == WORLD_TOKENS && w->end > 20000)
        w->end = 20000;
    make_lives(w);
    for (unsigned t = 0; t < w->tokens; t++)
        for (unsigned i = 0; i < WORLD_PERIODS; i++)
            end_changes(w, &w->valid[t][i]);

    unsigned end = (unsigned)w->end;
    unsigned requests = rng_below(&w->rng, 60), edits = 2 * w->tokens + rng_below(&w->rng, 4);
    unsigned burst = rng_chance(&w->rng, 30) ? rng_below(&w->rng, end) : 0; /* many requests at about the same time */
    for (unsigned i = 0; i < requests; i++) {
        unsigned at = burst != 0 && rng_chance(&w->rng, 50) ? burst + rng_below(&w->rng, 5) : rng_below(&w->rng, end);
        queue_put(&w->queue, at, EVENT_REQUEST, rng_below(&w->rng, w->replicas));
    }
    for (unsigned i = 0; i < edits; i++)
        queue_put(&w->queue, rng_below(&w->rng, end), EVENT_EDIT, 0);
    if (rng_chance(&w->rng, 15))
        queue_put(&w->queue, rng_below(&w->rng, end), EVENT_RESTART, 0);
    if (rng_chance(&w->rng, 20))
        queue_put(&w->queue, rng_below(&w->rng, end), EVENT_CLOCK, 0);
    if (rng_chance(&w->rng, 10))
        queue_put(&w->queue, rng_below(&w->rng, end), EVENT_POLICY, 0);
}

bool world_valid(const struct world *w, unsigned t, msec at)
{
    return world_valid_throughout(w, t, at, at);
}

bool world_valid_throughout(const struct world *w, unsigned t, msec from, msec until)
{
    for (unsigned i = 0; i < WORLD_PERIODS; i++)
        if (w->valid[t][i].from <= from && until < w->valid[t][i].until)
            return true;
    return false;
}

int world_answer(struct world *w, unsigned t, msec at)
{
    static const int nothing[] = {403, 500, 502, 503, 429, 0}, fine[] = {200, 200, 404, 201};
    bool random_part = at < w->end;
    if (random_part && w->faults && rng_chance(&w->rng, 15))
        return nothing[rng_below(&w->rng, 6)];
    if (!world_valid(w, t, at) || (random_part && w->flapping && rng_chance(&w->rng, 10)))
        return 401;
    return fine[rng_below(&w->rng, 4)];
}
