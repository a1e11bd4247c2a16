/* A second, naive reader of request heads as they go upstream: one request, one Host, one credential, one framing. */
#ifndef PP_TESTS_FUZZ_WRITTEN_H
#define PP_TESTS_FUZZ_WRITTEN_H

#include "fuzz.h"

#include "http/headers.h"

struct written_rules {
    struct str host, credential; /* the only ones there may be */
    struct str guard;            /* must not travel; n is 0: none */
};

/* What stands in a head, and how often each line that matters occurs; look-alikes count as the real thing. */
struct written {
    struct str line;
    struct str length, key; /* values of Content-Length and Sec-WebSocket-Key */
    unsigned host, authorization, lengths, coding, connection, upgrade, via, guard, forbidden;
};

static inline void written_see(struct written *seen, const struct written_rules *rules, struct str name,
                               struct str value)
{
    static const char *const never[] = {"keep-alive",
                                        "proxy-connection",
                                        "proxy-authorization",
                                        "te",
                                        "trailer",
                                        "expect",
                                        "http2-settings",
                                        "forwarded",
                                        "x-forwarded",
                                        "proxy-authenticate",
                                        "proxy-authentication-info"};
    bool authorization = header_names_alike(name, STR("authorization")), host = header_names_alike(name, STR("host"));
    bool coding = header_names_alike(name, STR("transfer-encoding"));
    FUZZ_ASSERT(!authorization || str_equal(value, rules->credential));
    FUZZ_ASSERT(!host || str_equal(value, rules->host));
    FUZZ_ASSERT(!coding || str_equal(value, STR("chunked")));
    seen->authorization += authorization;
    seen->host += host;
    seen->coding += coding;
    if (header_names_alike(name, STR("content-length"))) {
        seen->lengths++;
        seen->length = value;
    }
    if (str_equal_nocase(name, STR("sec-websocket-key"))) /* a look-alike is just another line */
        seen->key = str_trim(value); /* blanks around a value travel, and are not part of it (RFC 9110 5.5) */
    seen->connection += header_names_alike(name, STR("connection"));
    seen->upgrade += header_names_alike(name, STR("upgrade"));
    seen->via += header_names_alike(name, STR("via"));
    seen->guard += rules->guard.n > 0 && header_names_alike(name, rules->guard);
    for (size_t i = 0; i < sizeof never / sizeof never[0]; i++)
        seen->forbidden += header_names_alike(name, str_of(never[i]));
    seen->forbidden += name.n > 12 && header_names_alike((struct str){name.p, 12}, STR("x-forwarded-"));
}

/* `text`: exactly a head, its empty line included. Splits at CRLF and at the first colon, and allows nothing else that
 * could end a line. What must hold for every request is asserted; the rest is the caller's. */
static inline struct written written_read(struct str text, const struct written_rules *rules)
{
    struct written seen = {0};
    for (size_t line = 0;; line++) {
        const char *cr = memchr(text.p, '\r', text.n);
        FUZZ_ASSERT(cr != NULL);
        struct str s = {text.p, (size_t)(cr - text.p)};
        FUZZ_ASSERT(text.n > s.n + 1 && cr[1] == '\n');
        FUZZ_ASSERT(memchr(s.p, '\n', s.n) == NULL && memchr(s.p, 0, s.n) == NULL);
        text.p += s.n + 2;
        text.n -= s.n + 2;
        if (line == 0) {
            seen.line = s;
            continue;
        }
        if (s.n == 0)
            break;
        const char *colon = memchr(s.p, ':', s.n);
        FUZZ_ASSERT(colon != NULL && colon > s.p && colon[1] == ' ');
        struct str name = {s.p, (size_t)(colon - s.p)};
        FUZZ_ASSERT(memchr(name.p, ' ', name.n) == NULL && memchr(name.p, '\t', name.n) == NULL);
        written_see(&seen, rules, name, (struct str){colon + 2, s.n - name.n - 2});
    }
    FUZZ_ASSERT(text.n == 0);
    FUZZ_ASSERT(seen.host == 1 && seen.authorization == 1 && seen.via == 1 && seen.forbidden == 0 && seen.guard == 0);
    FUZZ_ASSERT(seen.lengths + seen.coding <= 1);
    return seen;
}

#endif
