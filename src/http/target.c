/* The request target: one pass that passes what it fully understands and names what it does not. */
#include "http/target.h"

#include "base/limits.h"
#include "http/chars.h"

/* The segment and the escaped character being read. */
struct path_scan {
    size_t segment;          /* bytes of this segment so far */
    bool dots;               /* it is one dot or two so far */
    unsigned char more;      /* continuation bytes of UTF-8 still to come, each as an escape */
    unsigned char low, high; /* what the next one may be */
};

/* Escaped bytes beyond ASCII must be UTF-8 in its shortest form (RFC 3629 4): an overlong `/` or `.` is none. */
static bool utf8_takes(struct path_scan *scan, unsigned char byte)
{
    if (scan->more > 0) {
        bool fits = byte >= scan->low && byte <= scan->high;
        scan->more--;
        scan->low = 0x80;
        scan->high = 0xbf;
        return fits;
    }
    scan->low = byte == 0xe0 ? 0xa0 : byte == 0xf0 ? 0x90 : 0x80;
    scan->high = byte == 0xed ? 0x9f : byte == 0xf4 ? 0x8f : 0xbf;
    scan->more = byte < 0x80 ? 0 : byte < 0xe0 ? 1 : byte < 0xf0 ? 2 : 3;
    return byte < 0x80 || (byte >= 0xc2 && byte <= 0xf4);
}

/* `escape` begins at the `%`; there are `n` bytes from there. */
static enum target_verdict path_escape(struct path_scan *scan, const char *escape, size_t n)
{
    int high = n < 3 ? -1 : ascii_hex(escape[1]), low = n < 3 ? -1 : ascii_hex(escape[2]);
    if (high < 0 || low < 0)
        return TARGET_BAD_ESCAPE;
    unsigned char byte = (unsigned char)(high << 4 | low);
    switch (byte) {
    case '/':
    case '\\':
        return TARGET_ENCODED_SLASH;
    case '.':
        return TARGET_DOT_SEGMENT;
    case '%':
        return TARGET_NESTED_ESCAPE;
    case ';':
        return TARGET_PARAMETER;
    default:
        return byte < 0x20 || byte == 0x7f || !utf8_takes(scan, byte) ? TARGET_BAD_ESCAPE : TARGET_OK;
    }
}

static bool dot_segment(const struct path_scan *scan)
{
    return scan->dots && scan->segment > 0 && scan->segment <= 2;
}

static enum target_verdict path_segment_end(struct path_scan *scan, bool last)
{
    if (dot_segment(scan))
        return TARGET_DOT_SEGMENT;
    if (scan->segment == 0 && !last)
        return TARGET_DOUBLE_SLASH;
    scan->segment = 0;
    scan->dots = true;
    return TARGET_OK;
}

/* One plain byte. */
static enum target_verdict path_byte(struct path_scan *scan, char c)
{
    if (!chars_is(c, CHARS_PATH))
        return TARGET_BAD_BYTE;
    if (scan->more > 0)
        return TARGET_BAD_ESCAPE; /* a UTF-8 sequence cut short */
    if (c == '/')
        return path_segment_end(scan, false);
    if (c == ';')
        return dot_segment(scan) ? TARGET_DOT_SEGMENT : TARGET_PARAMETER;
    scan->dots &= c == '.';
    scan->segment++;
    return TARGET_OK;
}

/* *end becomes the length of the path. */
static enum target_verdict path_check(struct str raw, size_t *end)
{
    struct path_scan scan = {.dots = true};
    size_t i = 1;
    while (i < raw.n && raw.p[i] != '?') {
        enum target_verdict verdict;
        if (raw.p[i] == '%') {
            verdict = path_escape(&scan, raw.p + i, raw.n - i);
            scan.dots = false;
            scan.segment++;
            i += 3;
        } else {
            verdict = path_byte(&scan, raw.p[i++]);
        }
        if (verdict != TARGET_OK)
            return verdict;
    }
    *end = i;
    return scan.more > 0 ? TARGET_BAD_ESCAPE : path_segment_end(&scan, true);
}

/* Looser: escapes must be well formed, and none may be a NUL. */
static enum target_verdict query_check(struct str query)
{
    for (size_t i = 0; i < query.n; i++) {
        if (query.p[i] == '%') {
            if (query.n - i < 3 || ascii_hex(query.p[i + 1]) < 0 || ascii_hex(query.p[i + 2]) < 0 ||
                (query.p[i + 1] == '0' && query.p[i + 2] == '0'))
                return TARGET_BAD_ESCAPE;
            i += 2;
        } else if (!chars_is(query.p[i], CHARS_QUERY)) {
            return TARGET_BAD_BYTE;
        }
    }
    return TARGET_OK;
}

static bool path_allowed(struct str path, struct str rule)
{
    if (rule.n == 0)
        return false;
    return rule.p[rule.n - 1] == '/' ? str_starts(path, rule) : str_equal(path, rule);
}

enum target_verdict target_check(struct str raw, const struct str *allowed, size_t allowed_count, struct target *out)
{
    if (raw.n > LIMIT_TARGET)
        return TARGET_TOO_LONG;
    if (raw.n == 0 || raw.p[0] != '/')
        return TARGET_NOT_ORIGIN_FORM;

    size_t end;
    enum target_verdict verdict = path_check(raw, &end);
    if (verdict != TARGET_OK)
        return verdict;
    struct target target = {.raw = raw, .path = {raw.p, end}, .query = STR_NONE};
    if (end < raw.n) {
        target.query = (struct str){raw.p + end + 1, raw.n - end - 1};
        verdict = query_check(target.query);
        if (verdict != TARGET_OK)
            return verdict;
    }

    *out = target;
    for (size_t i = 0; i < allowed_count; i++) {
        if (path_allowed(target.path, allowed[i]))
            return TARGET_OK;
    }
    return TARGET_NOT_ALLOWED;
}

const char *target_verdict_text(enum target_verdict verdict)
{
    switch (verdict) {
    case TARGET_OK:
        return "the target is fine";
    case TARGET_TOO_LONG:
        return "the target is longer than 8192 bytes";
    case TARGET_NOT_ORIGIN_FORM:
        return "the target is not a path: send one that starts with a slash, without scheme and host";
    case TARGET_BAD_BYTE:
        return "the target holds a byte that a URI may not hold unescaped (RFC 3986)";
    case TARGET_BAD_ESCAPE:
        return "the target holds a percent escape that is malformed or hides a control byte or bytes that are not "
               "UTF-8";
    case TARGET_DOT_SEGMENT:
        return "the path holds a dot segment or an encoded dot";
    case TARGET_ENCODED_SLASH:
        return "the path holds an encoded slash or backslash";
    case TARGET_NESTED_ESCAPE:
        return "the path holds an encoded percent sign, which could be decoded twice";
    case TARGET_DOUBLE_SLASH:
        return "the path holds an empty segment (two slashes in a row)";
    case TARGET_PARAMETER:
        return "the path holds a semicolon";
    case TARGET_NOT_ALLOWED:
        return "no entry of allowed_paths matches the path";
    }
    return "the target is not understood";
}
