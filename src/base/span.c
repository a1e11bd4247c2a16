/* Lengths of time in words. */
#include "base/span.h"

#include <inttypes.h>
#include <stdio.h>

/* The second one only if there is any of it. */
static void two_units(char out[static SPAN_SIZE], int64_t first, const char *first_unit, int64_t second,
                      const char *second_unit)
{
    if (second == 0)
        (void)snprintf(out, SPAN_SIZE, "%" PRId64 " %s", first, first_unit);
    else
        (void)snprintf(out, SPAN_SIZE, "%" PRId64 " %s %" PRId64 " %s", first, first_unit, second, second_unit);
}

const char *span_text(int64_t ms, char out[static SPAN_SIZE])
{
    int64_t seconds = ms / 1000, minutes = seconds / 60, hours = minutes / 60, days = hours / 24;
    if (ms < 0)
        ms = seconds = minutes = hours = days = 0;
    if (ms < 1000)
        (void)snprintf(out, SPAN_SIZE, "%" PRId64 " ms", ms);
    else if (seconds < 120)
        (void)snprintf(out, SPAN_SIZE, "%" PRId64 " s", seconds);
    else if (minutes < 120)
        (void)snprintf(out, SPAN_SIZE, "%" PRId64 " min", minutes);
    else if (hours < 48)
        two_units(out, hours, "h", minutes % 60, "min");
    else
        two_units(out, days, "d", hours % 24, "h");
    return out;
}
