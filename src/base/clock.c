/* Cached monotonic clock and wall time. */
#include "base/clock.h"

#include <stdio.h>
#include <time.h>

static _Thread_local msec cached = -1;
static _Thread_local msec fake = -1;
static _Thread_local int64_t fake_wall_offset;

static int64_t read_clock(clockid_t id, int64_t per_second)
{
    struct timespec t;
    (void)clock_gettime(id, &t); /* cannot fail for these clocks with a valid pointer */
    return (int64_t)t.tv_sec * per_second + (int64_t)t.tv_nsec / (1000000000 / per_second);
}

msec clock_tick(void)
{
    cached = fake >= 0 ? fake : read_clock(CLOCK_MONOTONIC, 1000);
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

void clock_fake(msec now, int64_t wall_offset)
{
    fake = now;
    fake_wall_offset = wall_offset;
    (void)clock_tick();
}

void clock_format_wall(int64_t wall_ms, char out[static 25])
{
    time_t seconds = (time_t)(wall_ms / 1000);
    struct tm t;
    if (wall_ms < 0 || wall_ms > 253402300799999 || gmtime_r(&seconds, &t) == NULL) { /* past year 9999 */
        (void)snprintf(out, 25, "invalid-time");
        return;
    }
    (void)snprintf(out, 25, "%04u-%02u-%02uT%02u:%02u:%02u.%03uZ", (unsigned)(t.tm_year + 1900) % 10000u,
                   (unsigned)(t.tm_mon + 1) % 100u, (unsigned)t.tm_mday % 100u, (unsigned)t.tm_hour % 100u,
                   (unsigned)t.tm_min % 100u, (unsigned)t.tm_sec % 100u, (unsigned)(wall_ms % 1000) % 1000u);
}
