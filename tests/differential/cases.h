/* Reads the file of cases that compare.py writes, for the drivers in C: length (4 bytes, big-endian), flags, bytes. */
#ifndef PP_TESTS_DIFFERENTIAL_CASES_H
#define PP_TESTS_DIFFERENTIAL_CASES_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define CASE_MAX (1u << 20)

/* False at the end. *bytes is allocated anew, exactly as large as the case, and the caller's to free. */
static inline bool cases_next(FILE *from, bool *to_head, char **bytes, size_t *n)
{
    unsigned char prefix[5];
    if (fread(prefix, 1, sizeof prefix, from) != sizeof prefix)
        return false;
    *n = (size_t)prefix[0] << 24 | (size_t)prefix[1] << 16 | (size_t)prefix[2] << 8 | prefix[3];
    *to_head = prefix[4] != 0;
    *bytes = *n > CASE_MAX ? NULL : malloc(*n == 0 ? 1 : *n);
    if (*bytes == NULL)
        return false;
    if (fread(*bytes, 1, *n, from) == *n)
        return true;
    free(*bytes);
    return false;
}

static inline void cases_put_hex(const char *p, size_t n)
{
    putchar('"');
    for (size_t i = 0; i < n; i++)
        printf("%02x", (unsigned)(unsigned char)p[i]);
    putchar('"');
}

#endif
