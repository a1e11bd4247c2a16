/* Names and sentences for results. */
#include "base/result.h"

#include <stdarg.h>
#include <stdio.h>

void problem_write(struct problem *p, const char *format, ...)
{
    if (p != NULL) {
        va_list args;
        va_start(args, format);
        (void)vsnprintf(p->text, sizeof p->text, format, args);
        va_end(args);
    }
}

const char *pp_result_name(enum pp_result rc)
{
    switch (rc) { /* no default: the compiler reports a missing name */
    case PP_OK:
        return "ok";
    case PP_AGAIN:
        return "again";
    case PP_END:
        return "end";
    case PP_NOMEM:
        return "out of memory";
    case PP_LIMIT:
        return "limit reached";
    case PP_INVALID:
        return "invalid";
    case PP_NOT_FOUND:
        return "not found";
    case PP_DENIED:
        return "denied";
    case PP_TIMEOUT:
        return "timeout";
    case PP_BROKEN:
        return "connection broken";
    case PP_SYSTEM:
        return "system error";
    }
    return "unknown";
}
