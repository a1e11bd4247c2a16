/* "Did you mean": the known name nearest to a mistyped one. Pure. */
#ifndef PP_BASE_SUGGEST_H
#define PP_BASE_SUGGEST_H

#include <stddef.h>

/* The distance between two names: single characters inserted, dropped, changed or swapped with their neighbour, at
 * least; upper and lower case and `-` and `_` count as the same. SIZE_MAX when either is longer than 63 characters. */
size_t suggest_distance(const char *a, const char *b);

/* The best name seen so far for `given`. Zero it, then offer the known names one by one. */
struct suggestion {
    const char *name; /* NULL: none near enough */
    size_t distance;
};

/* Takes `known` when it is nearer than what was offered before and near enough to be a slip: a third of the length of
 * `given`, at least 1 and at most 3. Keeps the pointer. */
void suggest_offer(struct suggestion *best, const char *given, const char *known);

#endif
