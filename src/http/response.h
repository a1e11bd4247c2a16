/* Upstream's answer, read strictly: what is not exactly understood is an error, never a guess. Pure (RFC 9112 4-7). */
#ifndef PP_HTTP_RESPONSE_H
#define PP_HTTP_RESPONSE_H

#include "base/result.h"
#include "http/headers.h"

enum response_framing {
    RESPONSE_NO_BODY, /* HEAD, 204, 304, 1xx, or Content-Length: 0 */
    RESPONSE_LENGTH,
    RESPONSE_CHUNKED,
    RESPONSE_UNTIL_CLOSE /* ends with the connection; complete only on an orderly TLS close */
};

struct response_head {
    int status;        /* 100-599 */
    struct str reason; /* may be empty */
    bool http10;
    struct header_list headers; /* views into the bytes that were parsed; trailing blanks removed */
    enum response_framing framing;
    int64_t content_length;        /* as declared, -1 if not; with HEAD and 304 it says nothing about the body here */
    bool keep_alive;               /* the connection may be used again after this answer's end */
    struct str keep_alive_timeout; /* digits of `Keep-Alive: timeout=N`, n is 0 if absent */
};

/* Parses one complete head at the front of `bytes`. `to_head`: the request was HEAD. What was said of some bytes is
 * never taken back by more of them, PP_AGAIN excepted; nothing behind the head is looked at. *out is undefined unless
 * PP_OK.
 *
 * PP_OK: *out set, *consumed bytes are the head including its empty line.
 *
 * PP_AGAIN: not complete yet, and nothing wrong so far.
 *
 * PP_LIMIT: over LIMIT_RESPONSE_HEAD or LIMIT_HEADERS; *what is set.
 *
 * PP_INVALID: anything RFC 9112 forbids, also where it lets a client be lenient; *what (static text) says which, for
 * the log: bare LF, bare CR, obs-fold, blank before the colon, control bytes, a version other than HTTP/1.0 or 1.1, TE
 * with CL, TE other than exactly `chunked` once, TE in HTTP/1.0, repeated or malformed CL, TE or a CL above 0 in 1xx
 * and 204, 1xx in HTTP/1.0. And where others disagree: a tab beside the value of CL or TE, which some do not take for a
 * blank. */
enum pp_result response_parse_head(struct str bytes, bool to_head, struct response_head *out, size_t *consumed,
                                   const char **what) PP_MUST_CHECK;

/* Decodes a body incrementally, without copying. */
struct body_reader {
    enum response_framing framing;
    int64_t left; /* bytes left of the body or of the current chunk */
    int state;    /* chunked: private to body.c */
    size_t line;  /* bytes of the current chunk line or of the trailer section so far */
};
void body_reader_init(struct body_reader *r, enum response_framing framing, int64_t content_length);

/* Takes bytes from the front of *in, sets *data to the next run of payload among them (n may be 0). How the input is
 * split changes no verdict.
 *
 * PP_OK: progress; call again while in->n > 0.
 *
 * PP_AGAIN: needs more input.
 *
 * PP_END: the body is complete; *data may hold its last bytes (always look), and *in what follows it (anything there
 * means the connection cannot be used again). Each call after that is PP_END again.
 *
 * PP_INVALID, then for ever: malformed chunk framing: size not hex, over 16 digits, blank around it, bare LF, missing
 * CRLF after the data, over LIMIT_CHUNK_LINE or LIMIT_TRAILER_BYTES, a malformed trailer line. */
enum pp_result body_reader_next(struct body_reader *r, struct str *in, struct str *data) PP_MUST_CHECK;

/* When the connection ended in an orderly way: PP_END if the body is thereby complete, else PP_BROKEN. */
enum pp_result body_reader_eof(const struct body_reader *r) PP_MUST_CHECK;

#endif
