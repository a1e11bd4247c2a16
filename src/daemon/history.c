/* A ring of ten-second steps: differences between the totals of two samples. */
#include "daemon/history.h"

#include <stdlib.h>

struct step {
    uint32_t requests, errors, websockets;
    uint32_t buckets[METRICS_BUCKETS];
};

struct history {
    struct step steps[HISTORY_STEPS];
    int64_t last; /* number of the newest step: wall ms / HISTORY_STEP */
    bool sampled; /* at all */
    uint64_t requests, errors;
    uint64_t buckets[METRICS_BUCKETS];
};

struct history *history_new(void)
{
    return calloc(1, sizeof(struct history));
}

void history_free(struct history *h)
{
    free(h);
}

static uint32_t difference(uint64_t now, uint64_t before)
{
    uint64_t d = now > before ? now - before : 0;
    return d > UINT32_MAX ? UINT32_MAX : (uint32_t)d;
}

/* The number is below 0 in the hour before 1970, of which a host whose clock begins there has seen the end. */
static size_t slot_of(int64_t number)
{
    int64_t slot = number % (int64_t)HISTORY_STEPS;
    return (size_t)(slot < 0 ? slot + (int64_t)HISTORY_STEPS : slot);
}

void history_sample(struct history *h, const struct metrics_totals *totals, int64_t wall)
{
    int64_t number = wall / HISTORY_STEP;
    uint64_t errors = totals->by_class[0] + totals->by_class[5];
    /* The wall clock may jump: a little backwards, the newest step takes it all; far either way, the hour is empty. */
    if (!h->sampled || number - h->last > (int64_t)HISTORY_STEPS || h->last - number > (int64_t)HISTORY_STEPS)
        h->last = number - (int64_t)HISTORY_STEPS;
    h->sampled = true;
    while (h->last < number) {
        h->last++;
        h->steps[slot_of(h->last)] = (struct step){0};
    }
    struct step *step = &h->steps[slot_of(h->last)];
    step->requests += difference(totals->requests, h->requests);
    step->errors += difference(errors, h->errors);
    step->websockets = totals->websockets > 0 ? (uint32_t)totals->websockets : 0;
    for (unsigned i = 0; i < METRICS_BUCKETS; i++) {
        step->buckets[i] += difference(totals->total.buckets[i], h->buckets[i]);
        h->buckets[i] = totals->total.buckets[i];
    }
    h->requests = totals->requests;
    h->errors = errors;
}

size_t history_points(const struct history *h, unsigned merge, struct history_point out[static HISTORY_STEPS])
{
    size_t count = 0;
    if (merge == 0 || merge > 36)
        merge = 1;
    if (!h->sampled)
        return 0;
    for (unsigned i = 0; i + merge <= HISTORY_STEPS; i += merge) {
        int64_t first = h->last - (int64_t)HISTORY_STEPS + 1 + i;
        struct metrics_histogram latency = {0};
        struct history_point *point = &out[count++];
        *point = (struct history_point){.when = first * HISTORY_STEP};
        for (unsigned j = 0; j < merge; j++) {
            const struct step *step = &h->steps[slot_of(first + j)];
            point->requests += step->requests;
            point->errors += step->errors;
            point->websockets = step->websockets;
            for (unsigned b = 0; b < METRICS_BUCKETS; b++)
                latency.buckets[b] += step->buckets[b];
        }
        point->p50 = metrics_quantile(&latency, 0.5);
        point->p99 = metrics_quantile(&latency, 0.99);
    }
    return count;
}
