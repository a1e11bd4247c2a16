/* Drives the token store, its replicas and probes through random rotations on a fake clock: SIM_TIMELINES of them
 * (100,000), from SIM_SEED (1). SIM_ONLY=N runs timeline N alone and says what happens in it. */
#include "base/crypto.h"
#include "process.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static uint64_t seed = 1, timelines = 100000, timeline;
static bool tracing;

/* The linker sends the store's calls here (--wrap): every secret is counted until it is wiped. */
long live_secrets;
void *__real_secret_alloc(size_t n);
void __real_secret_free(void *secret, size_t n);
void *__wrap_secret_alloc(size_t n);
void __wrap_secret_free(void *secret, size_t n);

void *__wrap_secret_alloc(size_t n)
{
    void *secret = __real_secret_alloc(n);
    live_secrets += secret != NULL;
    return secret;
}

void __wrap_secret_free(void *secret, size_t n)
{
    live_secrets -= secret != NULL;
    __real_secret_free(secret, n);
}

void fail(const char *format, ...)
{
    va_list args;
    (void)fprintf(stderr, "sim: timeline %llu: ", (unsigned long long)timeline);
    va_start(args, format);
    (void)vfprintf(stderr, format, args);
    va_end(args);
    (void)fprintf(stderr, "\nsim: to see it: SIM_SEED=%llu SIM_ONLY=%llu\n", (unsigned long long)seed,
                  (unsigned long long)timeline);
    exit(1);
}

void trace(const char *format, ...)
{
    va_list args;
    if (!tracing)
        return;
    va_start(args, format);
    (void)vprintf(format, args);
    va_end(args);
    (void)putchar('\n');
}

static uint64_t number_from(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    char *end;
    if (text == NULL)
        return otherwise;
    errno = 0;
    unsigned long long n = strtoull(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0') {
        (void)fprintf(stderr, "sim: %s: expected a number\n", name);
        exit(2);
    }
    return n;
}

/* Nothing new happens: some requests for those who never probe, time for probes, then the last messages. */
static void settle(struct process *p, struct world *w)
{
    msec from = w->end + 3 * (msec)w->latency + 2 * (msec)w->delay + 1000, step = 1200 + 4 * (msec)w->latency;
    msec until = from + 5 * step + p->policy.probe_interval * 5 / 4 + 61000 / (p->policy.probe_interval != 0 ? 60 : 1);
    for (unsigned round = 0; round < 4; round++)
        for (unsigned i = 0; i < w->replicas; i++)
            queue_put(&w->queue, from + round * step, EVENT_REQUEST, i);
    p->last_probe = until;
    struct event e;
    while (queue_take(&w->queue, &e))
        process_event(p, &e);
}

/* Runs timelines first, first + stride ... below `end`. Returns the exit status. */
static int run_share(uint64_t first, uint64_t end, uint64_t stride)
{
    static struct world w;
    static struct process p;
    uint64_t steps = 0, count = 0;
    if (secret_memory_init() != PP_OK)
        (void)fprintf(stderr, "sim: secrets are not locked in memory here\n");
    for (timeline = first; timeline < end; timeline += stride) {
        struct rng mix = {seed * UINT64_C(0x2545f4914f6cdd1d) + timeline};
        struct event e;
        world_make(&w, rng_next(&mix));
        process_start(&p, &w);
        while (w.queue.count > 0 && w.queue.heap[0].at < w.end && queue_take(&w.queue, &e)) {
            process_event(&p, &e);
            steps++;
        }
        settle(&p, &w);
        process_check_settled(&p);
        process_stop(&p);
        count++;
    }
    secret_memory_fini();
    if (p.checks < count) {
        (void)fprintf(stderr, "sim: checked next to nothing\n");
        return 1;
    }
    (void)printf("sim: %llu timelines, %llu steps, %llu comparisons: all invariants hold\n", (unsigned long long)count,
                 (unsigned long long)steps, (unsigned long long)p.checks);
    return 0;
}

/* A process for each core shares the work. */
static int run_shares(unsigned shares)
{
    int failed = 0;
    for (unsigned i = 0; i < shares; i++) {
        pid_t pid = fork();
        if (pid == 0)
            exit(run_share(i, timelines, shares));
        failed |= pid < 0;
    }
    for (int status; wait(&status) > 0;)
        failed |= status != 0;
    return failed;
}

int main(void)
{
    seed = number_from("SIM_SEED", seed);
    timelines = number_from("SIM_TIMELINES", timelines);
    if (getenv("SIM_ONLY") != NULL) {
        tracing = true;
        timeline = number_from("SIM_ONLY", 0);
        return run_share(timeline, timeline + 1, 1);
    }
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    return run_shares(cores < 2 ? 1 : cores > 8 ? 8 : (unsigned)cores);
}
