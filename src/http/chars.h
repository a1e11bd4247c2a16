/* Which bytes may stand where: the character classes of HTTP/1.1 and URIs, as one table of bits. Private to http/. */
#ifndef PP_HTTP_CHARS_H
#define PP_HTTP_CHARS_H

#include "base/str.h"

#include <stdint.h>

enum chars_class {
    CHARS_TOKEN = 1,  /* tchar, RFC 9110 5.6.2 */
    CHARS_VALUE = 2,  /* of a field value: VCHAR, obs-text, SP, HTAB (RFC 9110 5.5); the same set as a reason phrase */
    CHARS_PATH = 4,   /* pchar without its escapes, and `/` (RFC 3986 3.3) */
    CHARS_QUERY = 8,  /* the same and `?` (RFC 3986 3.4), and `[` `]`, which clients write there unescaped */
    CHARS_DIGIT = 16, /* 0-9 */
    CHARS_BASE64 = 32 /* of RFC 4648 4, without the padding */
};

extern const unsigned char chars_table[256];

/* Lower case for A-Z, `-` for `_`, every other byte itself: header names that some server takes for the same. */
extern const unsigned char chars_fold[256];

static inline bool chars_is(char c, unsigned classes)
{
    return (chars_table[(unsigned char)c] & classes) != 0;
}

/* How many bytes at the front of [p, p + n) belong to CHARS_VALUE. Eight at a time: this is where a parser of HTTP
 * spends its time. A word is looked at byte by byte when any of its bytes is below 0x20 or 0x7f (by the usual
 * arithmetic on all eight lanes: a lane's top bit stands in the sum exactly when some lane was below, or zero). */
static inline size_t chars_value_span(const char *p, size_t n)
{
    const uint64_t ones = UINT64_C(0x0101010101010101), tops = UINT64_C(0x8080808080808080);
    size_t i = 0;
    for (;;) {
        for (; n - i >= 8; i += 8) {
            uint64_t word;
            memcpy(&word, p + i, 8);
            uint64_t delete = word ^ (ones * 0x7f);
            if ((((word - ones * 0x20) & ~word) | ((delete - ones) & ~delete)) & tops)
                break;
        }
        size_t stop = n - i >= 8 ? i + 8 : n;
        while (i < stop && chars_is(p[i], CHARS_VALUE))
            i++;
        if (i < stop || i == n)
            return i;
    }
}

#endif
