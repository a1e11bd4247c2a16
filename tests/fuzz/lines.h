/* Header lists out of fuzz input: a line per LF, a name and a value per line. */
#ifndef PP_TESTS_FUZZ_LINES_H
#define PP_TESTS_FUZZ_LINES_H

#include "http/headers.h"

/* Takes the line at the front of *rest, without its LF. */
static inline struct str lines_next(struct str *rest)
{
    const char *end = rest->n == 0 ? NULL : memchr(rest->p, '\n', rest->n);
    struct str line = {rest->p, end == NULL ? rest->n : (size_t)(end - rest->p)};
    rest->p += line.n + (end != NULL);
    rest->n -= line.n + (end != NULL);
    return line;
}

/* "name:value" per line; a line without a colon is a name with an empty value. False when there were too many. */
static inline bool lines_headers(struct str rest, struct header_list *list)
{
    list->count = 0;
    while (rest.n > 0) {
        struct str line = lines_next(&rest);
        const char *colon = line.n == 0 ? NULL : memchr(line.p, ':', line.n);
        size_t n = colon == NULL ? line.n : (size_t)(colon - line.p);
        struct str value = colon == NULL ? STR_NONE : str_trim((struct str){colon + 1, line.n - n - 1});
        if (!headers_add(list, (struct str){line.p, n}, value))
            return false;
    }
    return true;
}

#endif
