/* HTTP/1.1 as a strict server speaks it: request heads, bodies in both framings, answers. */
#include "http.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

const char *http_header(const struct http_request *r, const char *name)
{
    for (size_t i = 0; i < r->header_count; i++)
        if (strcasecmp(r->headers[i].name, name) == 0)
            return r->headers[i].value;
    return NULL;
}

static size_t count_headers(const struct http_request *r, const char *name)
{
    size_t n = 0;

    for (size_t i = 0; i < r->header_count; i++)
        n += strcasecmp(r->headers[i].name, name) == 0;
    return n;
}

void http_request_free(struct http_request *r)
{
    free(r->raw);
    free(r->text);
    *r = (struct http_request){0};
}

static bool is_token(const char *s)
{
    if (*s == '\0')
        return false;
    for (; *s != '\0'; s++)
        if (!isalnum((unsigned char)*s) && strchr("!#$%&'*+-.^_`|~", *s) == NULL)
            return false;
    return true;
}

/* "METHOD target HTTP/1.x": sets the pointers, or says what is wrong. */
static const char *parse_request_line(struct http_request *r, char *line)
{
    char *target = strchr(line, ' ');
    char *version = target != NULL ? strchr(target + 1, ' ') : NULL;

    if (version == NULL)
        return "the request line has fewer than three parts";
    *target++ = '\0';
    *version++ = '\0';
    if (!is_token(line))
        return "the method is not a token";
    if (strcmp(version, "HTTP/1.0") == 0)
        r->http10 = true;
    else if (strcmp(version, "HTTP/1.1") != 0)
        return "the version is neither HTTP/1.0 nor HTTP/1.1";
    if (target[0] != '/')
        return "the target is not in origin form";
    for (const char *p = target; *p != '\0'; p++)
        if ((unsigned char)*p <= 0x20 || (unsigned char)*p >= 0x7f)
            return "the target holds a forbidden byte";
    r->method = line;
    r->target = target;
    return NULL;
}

static const char *parse_header(struct http_request *r, char *line)
{
    char *colon = strchr(line, ':');
    char *value;
    size_t n;

    if (colon == NULL)
        return "a header line has no colon";
    *colon = '\0';
    if (!is_token(line))
        return "a header name is not a token";
    value = colon + 1;
    value += strspn(value, " \t");
    for (n = strlen(value); n > 0 && (value[n - 1] == ' ' || value[n - 1] == '\t'); n--)
        value[n - 1] = '\0';
    for (const unsigned char *p = (const unsigned char *)value; *p != '\0'; p++)
        if ((*p < 0x20 && *p != '\t') || *p == 0x7f)
            return "a header value holds a control byte";
    if (r->header_count == HTTP_HEADERS_MAX)
        return "too many headers";
    r->headers[r->header_count++] = (struct http_header){line, value};
    return NULL;
}

static const char *parse_framing(struct http_request *r)
{
    const char *length = http_header(r, "Content-Length");
    const char *encoding = http_header(r, "Transfer-Encoding");
    const char *connection = http_header(r, "Connection");
    const char *expect = http_header(r, "Expect");

    r->content_length = -1;
    if (count_headers(r, "Host") != 1)
        return "there is not exactly one Host";
    if (count_headers(r, "Content-Length") > 1 || count_headers(r, "Transfer-Encoding") > 1)
        return "the length is given twice";
    if (length != NULL && encoding != NULL)
        return "both Content-Length and Transfer-Encoding are given";
    if (encoding != NULL) {
        if (strcasecmp(encoding, "chunked") != 0 || r->http10)
            return "the transfer coding is not understood";
        r->chunked = true;
        r->left = -1;
    } else if (length != NULL) {
        if (*length == '\0' || strlen(length) > 18 || strspn(length, "0123456789") != strlen(length))
            return "Content-Length is not a number";
        r->content_length = strtoll(length, NULL, 10);
        r->left = r->content_length;
    }
    r->body_done = !r->chunked && r->left <= 0;
    r->keep_alive = !r->http10 && (connection == NULL || strcasestr(connection, "close") == NULL);
    r->expect_continue = expect != NULL && strcasecmp(expect, "100-continue") == 0;
    return NULL;
}

static const char *parse_head(struct http_request *r)
{
    const char *what = NULL;
    char *line = r->text;
    char *query;

    if (memchr(r->raw, '\0', r->raw_length) != NULL)
        return "the head holds a NUL";
    for (size_t i = 0; i < r->raw_length; i++) {
        if (r->raw[i] == '\n' && (i == 0 || r->raw[i - 1] != '\r'))
            return "a line ends in a bare LF";
        if (r->raw[i] == '\r' && (i + 1 == r->raw_length || r->raw[i + 1] != '\n'))
            return "there is a bare CR";
    }
    for (size_t number = 0; what == NULL; number++) {
        char *end = strstr(line, "\r\n");
        if (end == NULL || end == line)
            break;
        *end = '\0';
        if (number > 0 && (*line == ' ' || *line == '\t'))
            return "a header line is folded";
        what = number == 0 ? parse_request_line(r, line) : parse_header(r, line);
        line = end + 2;
    }
    if (what != NULL)
        return what;
    if (r->target == NULL)
        return "the request line is missing";
    what = parse_framing(r);
    if (what != NULL)
        return what;
    r->path = r->target;
    query = strchr(r->target, '?');
    if (query != NULL) {
        char *path = strndup(r->target, (size_t)(query - r->target));
        size_t at;
        if (path == NULL)
            return "out of memory";
        /* The path's copy lives in the tail of `text`, which has room for it. */
        at = r->raw_length + 1;
        memcpy(r->text + at, path, strlen(path) + 1);
        r->path = r->text + at;
        r->query = query + 1;
        free(path);
    }
    return NULL;
}

enum http_read http_read_head(struct stream *s, struct http_request *r, const char **what)
{
    char *end = NULL;
    size_t n;

    *r = (struct http_request){0};
    for (;;) {
        ssize_t got;
        if (s->end > s->start)
            end = memmem(s->buf + s->start, s->end - s->start, "\r\n\r\n", 4);
        if (end != NULL)
            break;
        got = stream_fill(s, HTTP_HEAD_MAX);
        if (got == 0 && s->end == s->start)
            return HTTP_END;
        if (got <= 0)
            return HTTP_BROKEN;
    }
    n = (size_t)(end + 4 - (s->buf + s->start));
    r->raw = malloc(n + 1);
    r->text = malloc(2 * n + 2);
    if (r->raw == NULL || r->text == NULL) {
        http_request_free(r);
        return HTTP_BROKEN;
    }
    memcpy(r->raw, s->buf + s->start, n);
    r->raw[n] = '\0';
    r->raw_length = n;
    memcpy(r->text, r->raw, n + 1);
    s->start += n;
    *what = parse_head(r);
    return *what == NULL ? HTTP_OK : HTTP_MALFORMED;
}

static int hex_digit(int c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = tolower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool http_query(const struct http_request *r, const char *name, char *out, size_t size)
{
    const char *p = r->query;
    size_t name_length = strlen(name);

    while (p != NULL && *p != '\0') {
        size_t n = strcspn(p, "&");
        if (n > name_length && strncmp(p, name, name_length) == 0 && p[name_length] == '=') {
            size_t used = 0;
            for (size_t i = name_length + 1; i < n && used + 1 < size; i++) {
                int c = (unsigned char)p[i];
                if (c == '%' && i + 2 < n && hex_digit(p[i + 1]) >= 0 && hex_digit(p[i + 2]) >= 0) {
                    c = hex_digit(p[i + 1]) * 16 + hex_digit(p[i + 2]);
                    i += 2;
                }
                out[used++] = (char)c;
            }
            out[used] = '\0';
            return true;
        }
        p += n;
        p += *p == '&';
    }
    return false;
}

/* Reads one line ending in CRLF into `line`, without it. */
static bool read_line(struct stream *s, char *line, size_t size)
{
    size_t n = 0;

    for (;;) {
        char c;
        if (stream_read(s, &c, 1) != 1 || n + 1 == size)
            return false;
        line[n++] = c;
        if (n >= 2 && line[n - 2] == '\r' && line[n - 1] == '\n') {
            line[n - 2] = '\0';
            return true;
        }
        if (c == '\n')
            return false;
    }
}

/* Stands before a chunk line: reads it, and at the last chunk the trailers too. */
static bool next_chunk(struct stream *s, struct http_request *r)
{
    char line[1024];
    char *end;

    if (!read_line(s, line, sizeof line) || hex_digit(line[0]) < 0)
        return false;
    errno = 0;
    r->left = strtoll(line, &end, 16);
    if (errno != 0 || r->left < 0 || (*end != '\0' && *end != ';'))
        return false;
    if (r->left > 0)
        return true;
    do {
        if (!read_line(s, line, sizeof line))
            return false;
    } while (line[0] != '\0');
    r->body_done = true;
    return true;
}

ssize_t http_read_body(struct stream *s, struct http_request *r, void *into, size_t room)
{
    ssize_t n;

    if (r->expect_continue && !r->body_done) {
        static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
        r->expect_continue = false;
        if (!stream_write(s, go_on, sizeof go_on - 1))
            return -1;
    }
    if (!r->body_done && r->chunked && r->left < 0 && !next_chunk(s, r))
        return -1;
    if (r->body_done)
        return 0;
    if ((long long)room > r->left)
        room = (size_t)r->left;
    n = stream_read(s, into, room);
    if (n <= 0)
        return -1;
    r->left -= n;
    r->body_bytes += (unsigned long long)n;
    if (r->left == 0) {
        char crlf[3];
        if (!r->chunked)
            r->body_done = true;
        else if (!read_line(s, crlf, sizeof crlf))
            return -1;
        else
            r->left = -1;
    }
    return n;
}

char *http_read_all(struct stream *s, struct http_request *r, size_t limit, size_t *n)
{
    size_t cap = 1024;
    size_t used = 0;
    char *body = malloc(cap + 1);

    while (body != NULL) {
        ssize_t got = http_read_body(s, r, body + used, cap - used);
        if (got == 0)
            break;
        if (got > 0)
            used += (size_t)got;
        if (got > 0 && used == cap && cap < limit) {
            char *grown = realloc(body, cap * 2 + 1);
            if (grown != NULL) {
                body = grown;
                cap *= 2;
                continue;
            }
        }
        if (got < 0 || used == cap) {
            free(body);
            return NULL;
        }
    }
    if (body != NULL) {
        body[used] = '\0';
        *n = used;
    }
    return body;
}

const char *http_reason(int status)
{
    static const struct {
        int status;
        const char *reason;
    } table[] = {
        {100, "Continue"},
        {102, "Processing"},
        {103, "Early Hints"},
        {200, "OK"},
        {201, "Created"},
        {204, "No Content"},
        {205, "Reset Content"},
        {301, "Moved Permanently"},
        {302, "Found"},
        {304, "Not Modified"},
        {307, "Temporary Redirect"},
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {409, "Conflict"},
        {413, "Content Too Large"},
        {422, "Unprocessable Content"},
        {426, "Upgrade Required"},
        {429, "Too Many Requests"},
        {500, "Internal Server Error"},
        {502, "Bad Gateway"},
        {503, "Service Unavailable"},
        {504, "Gateway Timeout"},
    };

    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        if (table[i].status == status)
            return table[i].reason;
    return "Unknown";
}
