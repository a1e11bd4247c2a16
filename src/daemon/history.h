/* The last hour of each environment in steps of ten seconds, for the status page's charts. Main thread. */
#ifndef PP_DAEMON_HISTORY_H
#define PP_DAEMON_HISTORY_H

#include "base/metrics.h"

#define HISTORY_STEP  10000 /* ms */
#define HISTORY_STEPS 360u  /* one hour */

struct history; /* of one environment */

struct history *history_new(void) PP_MUST_CHECK;
void history_free(struct history *h);

/* Call every HISTORY_STEP ms with the totals of now; what came since the last call is one step. Late calls (the machine
 * slept) leave empty steps behind. */
void history_sample(struct history *h, const struct metrics_totals *totals, int64_t wall);

struct history_point {
    int64_t when; /* wall ms of its beginning */
    uint32_t requests;
    uint32_t errors;     /* answered 5xx or aborted */
    int64_t p50, p99;    /* microseconds, of the total duration; -1 without requests */
    uint32_t websockets; /* open at its end */
};

/* The hour before the last sample, oldest first, `merge` steps together in each point (1 to 36): HISTORY_STEPS / merge
 * points. Returns how many; steps before the start are empty. */
size_t history_points(const struct history *h, unsigned merge, struct history_point out[static HISTORY_STEPS]);

#endif
