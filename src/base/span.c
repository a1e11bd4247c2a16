/* Lengths of time in words. */
#include "base/span.h"

#include <inttypes.h>
#include <stdio.h>

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
        (void)snprintf(out, SPAN_SIZE, "%" PRId64 " h %" PRId64 " min", hours, minutes % 60);
    else
        (void)snprintf(out, SPAN_SIZE, "%" PRId64 " d %" PRId64 " h", days, hours % 24);
    return out;
}
