/* The request target: only what is understood exactly passes, and passes byte for byte. Pure (RFC 3986, RFC 9112 3.2).
 */
#ifndef PP_HTTP_TARGET_H
#define PP_HTTP_TARGET_H

#include "base/str.h"

enum target_verdict {
    TARGET_OK,
    TARGET_TOO_LONG,        /* over LIMIT_TARGET bytes */
    TARGET_NOT_ORIGIN_FORM, /* absolute, authority or asterisk form, or empty */
    TARGET_BAD_BYTE, /* outside RFC 3986's set: control bytes, blanks, non-ASCII, `"<>\^`{|}`, `#`, in the path `[]` */
    TARGET_BAD_ESCAPE,  /* `%` without two hex digits; %00; in the path any control byte, or bytes that are not UTF-8 */
    TARGET_DOT_SEGMENT, /* `.` or `..` as a segment, also before `;`; %2e anywhere in the path */
    TARGET_ENCODED_SLASH, /* %2f or %5c in the path */
    TARGET_NESTED_ESCAPE, /* %25 in the path: it could be decoded a second time */
    TARGET_DOUBLE_SLASH,  /* an empty segment */
    TARGET_PARAMETER,     /* `;` in the path, plain or encoded */
    TARGET_NOT_ALLOWED    /* well formed, but no allowed path matches */
};

struct target {
    struct str raw;   /* all of it, as received: what is forwarded */
    struct str path;  /* up to the `?` */
    struct str query; /* after the `?`; p is NULL when there is none */
};

/* `allowed`: a path ending in `/` allows everything below it (and not itself without the slash), any other exactly
 * itself; compared on the raw bytes. *out is set only on TARGET_OK and TARGET_NOT_ALLOWED. */
enum target_verdict target_check(struct str raw, const struct str *allowed, size_t allowed_count, struct target *out);

/* What was wrong, as the end of a sentence for people: "the path holds an encoded slash". */
const char *target_verdict_text(enum target_verdict verdict);

#endif
