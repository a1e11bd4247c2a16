/* Cached monotonic clock and wall time. */
#include "base/clock.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

static _Thread_local msec cached = -1;
static _Thread_local msec fake = -1;
static _Thread_local int64_t fake_wall_offset;
static _Thread_local int64_t cached_wall = -1; /* of the turn at hand */

static int64_t read_clock(clockid_t id, int64_t per_second)
{
    struct timespec t;
    (void)clock_gettime(id, &t); /* cannot fail for these clocks with a valid pointer */
    return (int64_t)t.tv_sec * per_second + (int64_t)t.tv_nsec / (1000000000 / per_second);
}

msec clock_tick(void)
{
    cached = fake >= 0 ? fake : read_clock(CLOCK_MONOTONIC, 1000);
    cached_wall = -1;
    return cached;
}

msec clock_now(void)
{
    return cached >= 0 ? cached : clock_tick();
}

int64_t clock_usec(void)
{
    return read_clock(CLOCK_MONOTONIC, 1000000);
}

int64_t clock_wall(void)
{
    return fake >= 0 ? fake + fake_wall_offset : read_clock(CLOCK_REALTIME, 1000);
}

int64_t clock_wall_now(void)
{
    if (cached < 0) /* no loop ticks on this thread */
        return clock_wall();
    if (cached_wall < 0)
        cached_wall = clock_wall();
    return cached_wall;
}

void clock_fake(msec now, int64_t wall_offset)
{
    fake = now;
    fake_wall_offset = wall_offset;
    (void)clock_tick();
}

/* "2026-11-22T17:10:00" */
static void format_seconds(int64_t seconds, char out[static 20])
{
    time_t when = (time_t)seconds;
    struct tm t;
    if (gmtime_r(&when, &t) == NULL) /* cannot fail within the years asked for */
        t = (struct tm){0};
    (void)snprintf(out, 20, "%04u-%02u-%02uT%02u:%02u:%02u", (unsigned)(t.tm_year + 1900) % 10000u,
                   (unsigned)(t.tm_mon + 1) % 100u, (unsigned)t.tm_mday % 100u, (unsigned)t.tm_hour % 100u,
                   (unsigned)t.tm_min % 100u, (unsigned)t.tm_sec % 100u);
}

void clock_format_wall(int64_t wall_ms, char out[static 25])
{
    static _Thread_local int64_t last = -1; /* thousands of log lines share a second */
    static _Thread_local char text[20];
    if (wall_ms < 0 || wall_ms > 253402300799999) { /* past year 9999 */
        memcpy(out, "invalid-time", sizeof "invalid-time");
        return;
    }
    if (wall_ms / 1000 != last) {
        last = wall_ms / 1000;
        format_seconds(last, text);
    }
    int64_t rest = wall_ms % 1000;
    memcpy(out, text, 19);
    out[19] = '.';
    out[20] = (char)('0' + rest / 100);
    out[21] = (char)('0' + rest / 10 % 10);
    out[22] = (char)('0' + rest % 10);
    out[23] = 'Z';
    out[24] = '\0';
}
