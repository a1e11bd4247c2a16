/* What a strict reader takes a client's byte stream for: requests, one after the other, up to the first doubt. */
#ifndef PP_TESTS_FUZZ_SAID_H
#define PP_TESTS_FUZZ_SAID_H

#include "fuzz.h"

#include "base/buf.h"
#include "http/chars.h"
#include "http/headers.h"

#define SAID_MOST 64u /* requests; streams of more are not judged */

struct said {
    struct str method, target;  /* views into the stream */
    size_t body_at, body_bytes; /* in said_list.bodies */
};

struct said_list {
    struct said items[SAID_MOST];
    size_t count;
    struct buf bodies;
};

/* How a head may end. libmicrohttpd 0.9.75 cuts at LFs, makes NULs of LF, of the CR before it, and of the first colon,
 * and ends a head at a line that begins with a NUL afterwards; the daemon then asks for two NULs behind every line and
 * four behind the last (scan_head in net/server.c). So these are all there are: four bytes, none of which stays. */
static const char said_ends[][4] = {
    {'\r', '\n', '\r', '\n'},
    {'\r', '\n', '\0', '\n'},
    {'\n', '\0', '\r', '\n'},
    {'\n', '\0', '\0', '\n'},
    /* And behind a header line, not the request line. Its version has to be eight bytes, which a NUL in the place of
     * the CR makes nine; and what begins with a colon there becomes a header without a name. */
    {'\0', '\n', '\r', '\n'},
    {'\0', '\n', '\0', '\n'},
    {'\0', '\r', '\n', '\n'},
    {'\0', '\0', '\n', '\n'},
    {'\r', '\n', ':', '\n'},
    {'\0', '\n', ':', '\n'},
    {'\n', ':', '\r', '\n'},
    {'\n', ':', '\0', '\n'},
};
#define SAID_ENDS_OF_ANY_LINE 4u

/* The line at the front, up to CRLF; behind a header line a NUL may stand for the CR. False when there is none. *ends:
 * the head ends with it. */
static inline bool said_line(struct str *rest, bool request_line, struct str *line, bool *ends)
{
    size_t n = 0, used = 2;
    while (n < rest->n && rest->p[n] != '\0' && rest->p[n] != '\n' &&
           (rest->p[n] != '\r' || n + 1 == rest->n || rest->p[n + 1] != '\n'))
        n++;
    size_t behind = rest->n - n;
    if (n == 0 || behind < 2)
        return false;
    const char *at = rest->p + n;
    *ends = false;
    for (size_t i = 0; i < (request_line ? SAID_ENDS_OF_ANY_LINE : sizeof said_ends / sizeof said_ends[0]); i++)
        *ends |= behind >= 4 && memcmp(at, said_ends[i], 4) == 0;
    if (*ends)
        used = 4;
    else if (at[1] != '\n' || (at[0] != '\r' && (at[0] != '\0' || request_line)))
        return false;
    *line = (struct str){rest->p, n};
    rest->p += n + used;
    rest->n -= n + used;
    return memchr(line->p, '\r', line->n) == NULL;
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

/* Where a line is passed over anyway, before a request and among trailers, libmicrohttpd takes any that begins with a
 * NUL for an empty one, whatever follows in it: said in SECURITY.md. *empty: it is one. */
static inline bool said_passed_over(struct str *rest, bool *empty)
{
    struct str line;
    if (!said_loose_line(rest, &line))
        return false;
    *empty = line.n == 0 || line.p[0] == '\0';
    return true;
}

/* Trailers end at an empty line, and at one that begins with a colon, which becomes a NUL. The first line is the
 * exception, but only if it is there as a whole when libmicrohttpd looks: then *perhaps is where they may have ended as
 * well (p is NULL: nowhere else). */
static inline bool said_trailers(struct str *rest, struct str *perhaps)
{
    *perhaps = STR_NONE;
    for (bool end = false, first = true; !end; first = false) {
        bool colon = rest->n > 0 && rest->p[0] == ':';
        if (!said_passed_over(rest, &end)) {
            *rest = *perhaps;
            *perhaps = STR_NONE;
            return rest->p != NULL;
        }
        if (colon && first)
            *perhaps = *rest;
        end |= colon && !first;
    }
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
        f->bad |= value.n == 0;
        f->length = 0;
        for (size_t i = 0; i < value.n; i++) {
            f->bad |= value.p[i] < '0' || value.p[i] > '9';
            f->length = f->length > UINT32_MAX ? SIZE_MAX : f->length * 10 + (size_t)(value.p[i] & 15);
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

static inline bool said_chunks(struct str *rest, struct buf *body, struct str *perhaps)
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
    return said_trailers(rest, perhaps);
}

/* True when a whole request was at the front. *perhaps: as of said_trailers. */
static inline bool said_one(struct str *rest, struct said *out, struct buf *bodies, struct str *perhaps)
{
    struct said_framing f = {0};
    struct str line;
    bool ends;
    *perhaps = STR_NONE;
    if (!said_line(rest, true, &line, &ends))
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
        if (!said_line(rest, false, &line, &ends))
            return false;
        said_header(&f, line);
    }
    if (f.bad || f.lengths + f.codings > 1)
        return false;
    out->body_at = buf_len(bodies);
    if (f.codings == 1 && !said_chunks(rest, bodies, perhaps))
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

/* Lists the requests from here on. Where it depends on time how a request ended, first those that follow one end, then
 * those that follow the other: what arrives must be among them, in their order. */
static inline void said_follow(struct said_list *list, struct str stream)
{
    for (;;) {
        struct str before = stream, perhaps;
        bool empty;
        while (said_passed_over(&stream, &empty) && empty)
            before = stream;
        stream = before;
        if (list->count == SAID_MOST || !said_one(&stream, &list->items[list->count], &list->bodies, &perhaps))
            return;
        list->count++;
        if (perhaps.p != NULL)
            said_follow(list, perhaps);
    }
}

/* Lists the requests in a stream. False when there are too many to tell. */
static inline bool said_read(struct said_list *list, struct str stream)
{
    list->count = 0;
    buf_init(&list->bodies, 8u << 20);
    said_follow(list, stream);
    return list->count < SAID_MOST;
}

#endif
