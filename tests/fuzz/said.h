/* What a strict reader takes a client's byte stream for: requests, one after the other, up to the first doubt. */
#ifndef PP_TESTS_FUZZ_SAID_H
#define PP_TESTS_FUZZ_SAID_H

#include "fuzz.h"

#include "base/buf.h"
#include "http/chars.h"
#include "http/headers.h"

#define SAID_MOST 64u

struct said {
    struct str method, target;  /* views into the stream */
    size_t body_at, body_bytes; /* in said_list.bodies */
};

struct said_list {
    struct said items[SAID_MOST];
    size_t count;
    struct buf bodies;
};

/* A line up to CRLF. False when there is none, or when a bare CR or LF comes before. libmicrohttpd makes NULs of CR and
 * LF, after which NULs that were sent look the same: one in the place of the CR, and, at the end of a head, one before
 * a CRLF, or a NUL and LF, that only a bare LF follows, and one behind a bare LF before the last CRLF. Known, and said
 * in SECURITY.md. *ends: the head ends with it. */
static inline bool said_line(struct str *rest, struct str *line, bool *ends)
{
    const char *end = rest->n == 0 ? NULL : memchr(rest->p, '\n', rest->n);
    size_t behind = end == NULL ? 0 : rest->n - (size_t)(end - rest->p) - 1;
    if (behind >= 2 && end > rest->p && end[-1] != '\r' && end[-1] != '\0' && end[1] == '\0' &&
        (end[2] == '\n' || (behind >= 3 && end[2] == '\r' && end[3] == '\n'))) {
        size_t used = (size_t)(end - rest->p) + (end[2] == '\n' ? 3 : 4);
        *line = (struct str){rest->p, (size_t)(end - rest->p)};
        rest->p += used;
        rest->n -= used;
        *ends = true;
        return memchr(line->p, '\r', line->n) == NULL;
    }
    bool colon = end != NULL && end - rest->p == 1 && rest->p[0] == ':'; /* it makes the colon a NUL, too */
    if (end == NULL || end == rest->p || (end[-1] != '\r' && end[-1] != '\0' && !colon))
        return false;
    *line = (struct str){rest->p, (size_t)(end - rest->p) - 1};
    rest->p += line->n + 2;
    rest->n -= line->n + 2;
    if (line->n > 0 && line->p[line->n - 1] == '\0' && rest->n > 0 && rest->p[0] == '\n') {
        line->n--;
        rest->p++, rest->n--;
        *ends = true;
    } else {
        *ends = line->n == 0;
    }
    return line->n == 0 || memchr(line->p, '\r', line->n) == NULL;
}

/* Within a chunked body libmicrohttpd takes a bare LF for a line's end: chosen, and said in SECURITY.md. */
static inline bool said_loose_line(struct str *rest, struct str *line)
{
    const char *end = rest->n == 0 ? NULL : memchr(rest->p, '\n', rest->n);
    if (end == NULL)
        return false;
    *line = (struct str){rest->p, (size_t)(end - rest->p)};
    rest->p += line->n + 1;
    rest->n -= line->n + 1;
    if (line->n > 0 && line->p[line->n - 1] == '\r')
        line->n--;
    return true;
}

/* Where a line is passed over anyway, before a request and among trailers, libmicrohttpd ends it at an LF, and takes
 * one that begins with a NUL (or a trailer with a colon) for an empty one, whatever follows in it: said in SECURITY.md.
 * *empty: it is one. */
static inline bool said_passed_over(struct str *rest, bool *empty)
{
    struct str line;
    if (!said_loose_line(rest, &line))
        return false;
    *empty = line.n == 0 || line.p[0] == '\0';
    return true;
}

struct said_framing {
    unsigned lengths, codings;
    size_t length;
    bool bad;
};

static inline void said_header(struct said_framing *f, struct str line)
{
    const char *colon = memchr(line.p, ':', line.n);
    size_t n = colon == NULL ? 0 : (size_t)(colon - line.p);
    struct str name = {line.p, n}, value = {line.p + n + 1, colon == NULL ? 0 : line.n - n - 1};
    if (!http_token_valid(name)) {
        f->bad = true;
        return;
    }
    while (value.n > 0 && (value.p[0] == ' ' || value.p[0] == '\t'))
        value.p++, value.n--;
    if (str_equal_nocase(name, STR("transfer-encoding"))) {
        f->codings++;
        f->bad |= !str_equal_nocase(value, STR("chunked"));
    }
    if (str_equal_nocase(name, STR("content-length"))) {
        f->lengths++;
        f->bad |= value.n == 0 || value.n > 9;
        f->length = 0;
        for (size_t i = 0; i < value.n; i++) {
            f->bad |= value.p[i] < '0' || value.p[i] > '9';
            f->length = f->length * 10 + (size_t)(value.p[i] & 15);
        }
    }
}

static inline bool said_chunk_size(struct str line, size_t *size)
{
    size_t digits = 0;
    *size = 0;
    for (; digits < line.n && ascii_hex(line.p[digits]) >= 0; digits++)
        *size = *size > UINT32_MAX ? SIZE_MAX : *size << 4 | (size_t)ascii_hex(line.p[digits]);
    return digits > 0 && (digits == line.n || line.p[digits] == ';');
}

static inline bool said_chunks(struct str *rest, struct buf *body)
{
    struct str line;
    size_t size;
    for (;;) {
        if (!said_loose_line(rest, &line) || !said_chunk_size(line, &size) || size > rest->n)
            return false;
        if (size == 0)
            break;
        FUZZ_ASSERT(buf_append(body, rest->p, size) == PP_OK);
        rest->p += size;
        rest->n -= size;
        if (!said_loose_line(rest, &line) || line.n > 0)
            return false;
    }
    bool end;
    do { /* trailers */
        bool colon = rest->n > 0 && rest->p[0] == ':';
        if (!said_passed_over(rest, &end))
            return false;
        end |= colon;
    } while (!end);
    return true;
}

/* True when a whole request was at the front. */
static inline bool said_one(struct str *rest, struct said *out, struct buf *bodies)
{
    struct said_framing f = {0};
    struct str line;
    bool ends;
    if (!said_line(rest, &line, &ends))
        return false;
    const char *first = memchr(line.p, ' ', line.n), *last = memrchr(line.p, ' ', line.n);
    if (first == NULL || first == last)
        return false;
    out->method = (struct str){line.p, (size_t)(first - line.p)};
    out->target = (struct str){first + 1, (size_t)(last - first - 1)};
    struct str version = {last + 1, (size_t)(line.p + line.n - last - 1)};
    if (!str_equal(version, STR("HTTP/1.1")) && !str_equal(version, STR("HTTP/1.0")))
        return false;
    while (!ends) {
        if (!said_line(rest, &line, &ends))
            return false;
        if (line.n > 0)
            said_header(&f, line);
    }
    if (f.bad || f.lengths + f.codings > 1)
        return false;
    out->body_at = buf_len(bodies);
    if (f.codings == 1 && !said_chunks(rest, bodies))
        return false;
    if (f.lengths == 1) {
        if (f.length > rest->n)
            return false;
        FUZZ_ASSERT(buf_append(bodies, rest->p, f.length) == PP_OK);
        rest->p += f.length;
        rest->n -= f.length;
    }
    out->body_bytes = buf_len(bodies) - out->body_at;
    return true;
}

/* Lists the requests in a stream. */
static inline void said_read(struct said_list *list, struct str stream)
{
    list->count = 0;
    buf_init(&list->bodies, 8u << 20);
    for (;;) {
        struct str before = stream;
        bool empty;
        while (said_passed_over(&stream, &empty) && empty)
            before = stream;
        stream = before;
        if (list->count == SAID_MOST || !said_one(&stream, &list->items[list->count], &list->bodies))
            return;
        list->count++;
    }
}

#endif
