/* Lengths of time in words for people: "340 ms", "12 s", "5 min", "3 h 20 min", "2 d". Pure. */
#ifndef PP_BASE_SPAN_H
#define PP_BASE_SPAN_H

#include <stdint.h>

#define SPAN_SIZE 24u

/* `ms` below 0 counts as 0. Rounded down, to two units at most. Returns `out`. */
const char *span_text(int64_t ms, char out[static SPAN_SIZE]);

#endif
