/* What a token may look like: one rule for tokens in a token file, in the config and on standard input. Pure. */
#ifndef PP_BASE_TOKEN_FORMAT_H
#define PP_BASE_TOKEN_FORMAT_H

#include "base/result.h"
#include "base/str.h"

/* Without surrounding ASCII white space: space, tab, CR, LF, VT, FF. */
struct str token_format_trim(struct str bytes);

/* Checks one token, already trimmed: 1 to LIMIT_TOKEN_LENGTH visible ASCII characters (so that it is one field value of
 * RFC 9110 5.5 whatever scheme precedes it), without a `Bearer ` or `Authorization:` prefix and without quotes around
 * it, and not the word Bearer alone. Otherwise PP_INVALID, with *offset the byte (0 first) and *what a constant phrase
 * that names the fault and the remedy and never holds a byte of the token, e.g. "white space inside the token: write
 * one token, in one piece". */
enum pp_result token_format_check(struct str bytes, size_t *offset, const char **what) PP_MUST_CHECK;

#endif
