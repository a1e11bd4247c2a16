/* Upstream's response head, parsed strictly in one pass from left to right. */
#include "http/response.h"

#include "http/chars.h"

/* What the header lines said about framing and connection, gathered while they are read. */
struct framing_lines {
    unsigned content_lengths, transfer_encodings;
    struct str content_length, transfer_encoding;
    bool tab;               /* a tab beside the value of one of these */
    bool close, keep_alive; /* members of Connection */
};

/* The bytes and where we are. `end` is where reading stops: the end of the input or of what a head may hold. */
struct head_scan {
    const char *p;
    size_t at, end;
    bool limited; /* `end` is the limit: no more bytes will help */
    const char *what;
};

static enum pp_result scan_out(const struct head_scan *scan)
{
    return scan->limited ? PP_LIMIT : PP_AGAIN;
}

static enum pp_result scan_invalid(struct head_scan *scan, const char *what)
{
    scan->what = what;
    return PP_INVALID;
}

/* CR and LF, both of them; `what` for anything else. */
static enum pp_result scan_line_end(struct head_scan *scan, const char *what)
{
    if (scan->at == scan->end)
        return scan_out(scan);
    if (scan->p[scan->at] != '\r')
        return scan_invalid(scan, scan->p[scan->at] == '\n' ? "a line ends in a bare LF" : what);
    if (scan->at + 1 == scan->end)
        return scan_out(scan);
    if (scan->p[scan->at + 1] != '\n')
        return scan_invalid(scan, "a CR without LF");
    scan->at += 2;
    return PP_OK;
}

/* "HTTP/1.1 200 Reason" and the line's end. */
static enum pp_result scan_status_line(struct head_scan *scan, struct response_head *out)
{
    static const char pattern[] = "HTTP/1.v ddd "; /* v: 0 or 1, d: a digit */
    for (; scan->at < sizeof pattern - 1; scan->at++) {
        if (scan->at == scan->end)
            return scan_out(scan);
        char c = scan->p[scan->at], wanted = pattern[scan->at];
        bool fits = wanted == 'v' ? c == '0' || c == '1' : wanted == 'd' ? chars_is(c, CHARS_DIGIT) : c == wanted;
        if (!fits)
            return scan_invalid(scan, scan->at < 8 ? "the version is not HTTP/1.0 or HTTP/1.1"
                                                   : "the status line is malformed");
    }
    out->http10 = scan->p[7] == '0';
    out->status = (scan->p[9] - '0') * 100 + (scan->p[10] - '0') * 10 + (scan->p[11] - '0');
    if (out->status < 100 || out->status > 599)
        return scan_invalid(scan, "the status is not between 100 and 599");
    size_t length = chars_value_span(scan->p + scan->at, scan->end - scan->at);
    out->reason = (struct str){scan->p + scan->at, length};
    scan->at += length;
    return scan_line_end(scan, "a control byte in the reason phrase");
}

/* One header line and its end. */
static enum pp_result scan_header(struct head_scan *scan, struct header *out, struct str *raw_value)
{
    const char *p = scan->p;
    size_t start = scan->at, at = start;
    while (at < scan->end && chars_is(p[at], CHARS_TOKEN))
        at++;
    if (at == scan->end)
        return scan_out(scan);
    if (p[at] != ':' || at == start) {
        if (p[at] == ' ' || p[at] == '\t')
            return scan_invalid(scan, at == start ? "a folded header line" : "a blank in or after a header name");
        return scan_invalid(scan, at == start ? "a header line without a name" : "a header name is not a token");
    }
    out->name = (struct str){p + start, at - start};
    at++;
    size_t length = chars_value_span(p + at, scan->end - at);
    *raw_value = (struct str){p + at, length};
    out->value = str_trim(*raw_value);
    scan->at = at + length;
    return scan_line_end(scan, "a control byte in a header value");
}

static void note_connection(struct framing_lines *lines, struct str value)
{
    struct str member;
    while (header_list_next(&value, &member)) {
        lines->close |= str_equal_nocase(member, STR("close"));
        lines->keep_alive |= str_equal_nocase(member, STR("keep-alive"));
    }
}

/* The digits of `timeout=5` in "timeout=5, max=100". */
static struct str keep_alive_timeout(struct str value)
{
    static const struct str key = STR("timeout=");
    struct str member;
    while (header_list_next(&value, &member)) {
        if (member.n <= key.n || !str_equal_nocase((struct str){member.p, key.n}, key))
            continue;
        struct str digits = {member.p + key.n, 0};
        while (digits.n < member.n - key.n && chars_is(digits.p[digits.n], CHARS_DIGIT))
            digits.n++;
        if (digits.n == member.n - key.n)
            return digits;
    }
    return STR_NONE;
}

/* The value as it stood, blanks included, shows what other parsers would see: some do not take a tab for a blank, and
 * to them "chunked<TAB>" is an unknown coding. */
static void note_framing(struct framing_lines *lines, unsigned *count, struct str *last, struct str value,
                         struct str raw_value)
{
    (*count)++;
    *last = value;
    lines->tab |= raw_value.n > 0 && memchr(raw_value.p, '\t', raw_value.n) != NULL;
}

static void note_header(struct framing_lines *lines, struct response_head *out, const struct header *header,
                        struct str raw_value)
{
    bool exact;
    enum header_id id = header_identify(header->name, &exact);
    if (id == HEADER_OTHER || !exact)
        return;
    if (id == HEADER_CONTENT_LENGTH) {
        note_framing(lines, &lines->content_lengths, &lines->content_length, header->value, raw_value);
    } else if (id == HEADER_TRANSFER_ENCODING) {
        note_framing(lines, &lines->transfer_encodings, &lines->transfer_encoding, header->value, raw_value);
    } else if (id == HEADER_CONNECTION) {
        note_connection(lines, header->value);
    } else if (id == HEADER_KEEP_ALIVE && out->keep_alive_timeout.n == 0) {
        out->keep_alive_timeout = keep_alive_timeout(header->value);
    }
}

/* RFC 9112 6.3, and everything it would let us repair is refused. */
static const char *decide_framing(const struct framing_lines *lines, bool to_head, struct response_head *out)
{
    bool no_content = out->status < 200 || out->status == 204;
    out->content_length = -1;
    if (lines->content_lengths > 1)
        return "more than one Content-Length";
    if (lines->content_lengths == 1 && !http_parse_content_length(lines->content_length, &out->content_length))
        return "a malformed Content-Length";
    if (lines->tab)
        return "a tab beside the value of Content-Length or Transfer-Encoding";
    if (lines->transfer_encodings > 0) {
        if (lines->content_lengths > 0)
            return "both Transfer-Encoding and Content-Length";
        if (lines->transfer_encodings > 1 || !str_equal_nocase(lines->transfer_encoding, STR("chunked")))
            return "a Transfer-Encoding other than chunked, once";
        if (out->http10)
            return "Transfer-Encoding in HTTP/1.0";
        if (no_content)
            return "Transfer-Encoding in an answer that has no body";
    }
    if (out->http10 && out->status < 200)
        return "an interim answer in HTTP/1.0, which has none";
    if (no_content && out->content_length > 0)
        return "a Content-Length above 0 in an answer that has no body";

    if (to_head || no_content || out->status == 304 || out->content_length == 0)
        out->framing = RESPONSE_NO_BODY;
    else if (lines->transfer_encodings > 0)
        out->framing = RESPONSE_CHUNKED;
    else
        out->framing = out->content_length > 0 ? RESPONSE_LENGTH : RESPONSE_UNTIL_CLOSE;
    out->keep_alive = out->framing != RESPONSE_UNTIL_CLOSE && out->status != 101 && !lines->close &&
                      (!out->http10 || lines->keep_alive);
    return NULL;
}

/* Everything after the status line. */
static enum pp_result scan_headers(struct head_scan *scan, bool to_head, struct response_head *out)
{
    struct framing_lines lines = {0};
    for (;;) {
        struct header header;
        struct str raw_value;
        if (scan->at < scan->end && (scan->p[scan->at] == '\r' || scan->p[scan->at] == '\n'))
            break;
        enum pp_result rc = scan_header(scan, &header, &raw_value);
        if (rc != PP_OK)
            return rc;
        if (!headers_add(&out->headers, header.name, header.value))
            return PP_LIMIT;
        note_header(&lines, out, &header, raw_value);
    }
    enum pp_result rc = scan_line_end(scan, "a malformed empty line");
    if (rc != PP_OK)
        return rc;
    scan->what = decide_framing(&lines, to_head, out);
    return scan->what == NULL ? PP_OK : PP_INVALID;
}

enum pp_result response_parse_head(struct str bytes, bool to_head, struct response_head *out, size_t *consumed,
                                   const char **what)
{
    bool limited = bytes.n >= LIMIT_RESPONSE_HEAD;
    struct head_scan scan = {bytes.p, 0, limited ? LIMIT_RESPONSE_HEAD : bytes.n, limited, NULL};
    out->headers.count = 0;
    out->keep_alive_timeout = STR_NONE;
    enum pp_result rc = scan_status_line(&scan, out);
    if (rc == PP_OK)
        rc = scan_headers(&scan, to_head, out);
    if (rc == PP_OK)
        *consumed = scan.at;
    else if (rc == PP_LIMIT)
        *what = "the head is over 16 KiB or has over 100 header lines";
    else if (rc == PP_INVALID)
        *what = scan.what;
    return rc;
}
