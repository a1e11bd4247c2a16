/* What the main thread does now and then: watchdog, history samples, systemd's status line. */
#include "daemon/daemon.h"
#include "daemon/heap.h"
#include "daemon/history.h"
#include "daemon/notify.h"

#include <string.h>
#include <unistd.h>

#define CHORES_CHECK 2000 /* ms between looks at the workers' loops where no watchdog asks for more */

/* The timers of the chores were armed before, which is when arming can fail. */
static void again(struct daemon *d, struct timer *t, msec due, void (*chore)(struct timer *))
{
    if (timer_set(d->loop, t, due, chore) != PP_OK)
        log_error("main", NULL, "out of memory: no watchdog or no history until the next start");
}

static void take_samples(struct timer *t)
{
    struct daemon *d = (struct daemon *)((char *)t - offsetof(struct daemon, sampling));
    for (size_t i = 0; i < d->environment_count; i++) {
        struct metrics_totals totals;
        metrics_totals(d->metrics, d->environments[i].metrics_index, &totals);
        history_sample(d->environments[i].history, &totals, clock_wall());
    }
    daemon_tell_status(d);
    heap_give_back();
    again(d, t, t->due + HISTORY_STEP, take_samples);
}

static msec check_interval(void)
{
    msec asked = notify_watchdog_interval();
    return asked > 0 && asked < CHORES_CHECK ? asked : CHORES_CHECK;
}

/* A worker whose loop has not turned since the last look, though it was woken then, is stuck: systemd hears nothing
 * until it turns again, and restarts us when that takes too long. */
static void look_at_workers(struct timer *t)
{
    struct daemon *d = (struct daemon *)((char *)t - offsetof(struct daemon, watchdog));
    unsigned stalled = 0;
    for (unsigned i = 0; i < d->worker_count; i++) {
        uint64_t turns = worker_turns(d->workers[i]);
        if (turns == d->turns_seen[i])
            stalled++;
        d->turns_seen[i] = turns;
        worker_nudge(d->workers[i]);
    }
    if (stalled > 0 && d->stalled_workers == 0)
        log_error("watchdog", NULL, "%u worker loop%s did not turn for %lld ms", stalled, stalled == 1 ? "" : "s",
                  (long long)check_interval());
    if (stalled == 0 && d->stalled_workers > 0)
        log_info("watchdog", NULL, "every worker loop turns again");
    d->stalled_workers = stalled;
    if (stalled == 0)
        notify_alive();
    again(d, t, clock_now() + check_interval(), look_at_workers);
}

void daemon_tell_status(struct daemon *d)
{
    struct status_snapshot snapshot;
    struct buf line;
    char text[sizeof d->status_line];
    if (!notify_active())
        return;
    buf_init(&line, sizeof text - 1);
    daemon_snapshot(d, &snapshot);
    status_line(&snapshot, &line);
    memcpy(text, buf_str(&line).p, buf_len(&line));
    text[buf_len(&line)] = '\0';
    buf_free(&line);
    if (strcmp(text, d->status_line) == 0)
        return;
    memcpy(d->status_line, text, sizeof text);
    notify_status("%s", text);
}

void daemon_bound_memory(struct daemon *d)
{
    struct buf text;
    uint64_t before = d->memory.bytes;
    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    uint64_t there = pages > 0 && page > 0 ? (uint64_t)pages * (uint64_t)page : UINT64_MAX; /* unknown */
    memory_bound_compute(d->config, d->worker_count, d->places, d->files, &d->memory);
    if (d->memory.bytes == before)
        return;
    buf_init(&text, 2048);
    memory_bound_text(&d->memory, &text);
    log_info("memory", NULL, "%.*s", (int)buf_len(&text), buf_str(&text).p);
    if (d->memory.bytes > there)
        log_warning("memory", NULL, "this host has less memory than that, %llu bytes: lower what takes most",
                    (unsigned long long)there);
    buf_free(&text);
    for (size_t i = 0; i < d->config->environment_count; i++) {
        const struct environment_config *e = &d->config->environments[i];
        unsigned inflight = environment_max_inflight(e, d->config, d->places);
        if (inflight < e->max_inflight)
            log_warning("main", e->name, "max_inflight is %u, but there are descriptors for %u only: raise LimitNOFILE",
                        e->max_inflight, inflight);
    }
}

void daemon_start_chores(struct daemon *d)
{
    msec now = clock_now();
    for (unsigned i = 0; i < d->worker_count; i++)
        d->turns_seen[i] = UINT64_MAX; /* the first look has nothing to compare with */
    again(d, &d->watchdog, now + check_interval(), look_at_workers);
    again(d, &d->sampling, now + HISTORY_STEP, take_samples);
}

void daemon_stop_chores(struct daemon *d)
{
    timer_stop(d->loop, &d->watchdog);
    timer_stop(d->loop, &d->sampling);
}
