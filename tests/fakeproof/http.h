/* HTTP/1.1 as a strict server speaks it: request heads, bodies in both framings, answers. */
#ifndef PP_TESTS_FAKEPROOF_HTTP_H
#define PP_TESTS_FAKEPROOF_HTTP_H

#include "stream.h"

#define HTTP_HEADERS_MAX 128u
#define HTTP_HEAD_MAX    (128u * 1024)

struct http_header {
    const char *name, *value; /* NUL-terminated */
};

struct http_request {
    char *raw; /* the head as received, `raw_length` bytes including the empty line */
    size_t raw_length;
    char *text; /* a copy, cut into the strings below */
    const char *method, *target, *path, *query;
    struct http_header headers[HTTP_HEADERS_MAX];
    size_t header_count;
    bool http10, keep_alive, chunked, expect_continue;
    long long content_length; /* -1: none */
    /* body reading */
    long long left; /* of the body or chunk; -1: before a chunk line */
    bool body_done;
    unsigned long long body_bytes; /* read so far */
};

enum http_read { HTTP_OK, HTTP_END, HTTP_BROKEN, HTTP_MALFORMED };

/* Reads one head. HTTP_END: the peer ended between requests. HTTP_MALFORMED: *what says why; answer 400 and close. */
enum http_read http_read_head(struct stream *s, struct http_request *r, const char **what);
void http_request_free(struct http_request *r);

/* Value of the first header of that name, or NULL. */
const char *http_header(const struct http_request *r, const char *name);

/* Value of a query parameter, copied to `out`; false if there is none. Understands %XX. */
bool http_query(const struct http_request *r, const char *name, char *out, size_t size);

/* Next piece of the body; 0 at its end; -1 when the connection broke or the framing is malformed. Sends 100 Continue
 * before the first byte if it was asked for. */
ssize_t http_read_body(struct stream *s, struct http_request *r, void *into, size_t room);

/* The whole body, NUL-terminated, at most `limit` bytes; NULL when it is longer or breaks off. The caller frees. */
char *http_read_all(struct stream *s, struct http_request *r, size_t limit, size_t *n);

/* "Not Found" for 404 and so on. */
const char *http_reason(int status);

#endif
