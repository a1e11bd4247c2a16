/* The one clock: monotonic milliseconds, read once per turn of a loop, replaceable in tests.
 *
 * Code asks clock_now(); only a loop calls clock_tick(). Each thread has its own cached reading. */
#ifndef PP_BASE_CLOCK_H
#define PP_BASE_CLOCK_H

#include <stddef.h>
#include <stdint.h>

typedef int64_t msec; /* milliseconds, of the monotonic clock where it is a point in time */

#define MSEC_NEVER INT64_MAX

/* The reading of this thread's last clock_tick (ticks by itself the first time). */
msec clock_now(void);

/* Reads CLOCK_MONOTONIC (clock_gettime(2)) into this thread's cache and returns it. */
msec clock_tick(void);

/* A fresh monotonic reading in microseconds, for durations in log and metrics. Not cached, not replaceable. */
int64_t clock_usec(void);

/* Wall-clock time in milliseconds since 1970 (UTC): for log lines, expiry dates and status, never for deadlines. */
int64_t clock_wall(void);

/* The same as of this thread's last clock_tick, read at most once per tick: what a request does many times. */
int64_t clock_wall_now(void);

/* Tests only: from now on this thread's clock_now and clock_tick return `now`, clock_wall `now + wall_offset`.
 * Pass a negative `now` to return to the real clock. */
void clock_fake(msec now, int64_t wall_offset);

/* "2026-11-22T17:10:00.123Z" (RFC 3339) into out, which holds at least 25 bytes. */
void clock_format_wall(int64_t wall_ms, char out[static 25]);

#endif
