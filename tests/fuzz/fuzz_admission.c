/* Fuzzes http/admission and http/request together: what is admitted and written upstream is read again by a second,
 * naive reader, which must find one request with one Host, one credential and one framing, whatever the client sent.
 *
 * Input: a byte of switches, then lines: "METHOD TARGET VERSION", and one "name:value" per further line. */
#include "fuzz.h"

#include "http/request.h"
#include "lines.h"

static const struct str paths[] = {STR("/widget/"), STR("/ws")};
static const struct str hosts[] = {STR("proof.internal")};
static const struct str origins[] = {STR("https://shop.example")};

#define HOST       "api.example"
#define CREDENTIAL "Bearer the-only-one"

enum {
    SWITCH_UNIX = 1,
    SWITCH_GUARD = 2,
    SWITCH_REJECT = 4,
    SWITCH_FORWARDED = 8,
    SWITCH_LISTS = 16,
    SWITCH_PREFIX = 32
};

static struct admission_policy policy_of(unsigned switches)
{
    struct admission_policy policy = {.allowed_paths = paths,
                                      .allowed_paths_count = 2,
                                      .refuse_forwarded = (switches & SWITCH_FORWARDED) == 0,
                                      .reject_authorization = (switches & SWITCH_REJECT) != 0,
                                      .max_body = 4096};
    if (switches & SWITCH_LISTS) {
        policy.allowed_hosts = hosts;
        policy.allowed_origins = origins;
        policy.allowed_hosts_count = policy.allowed_origins_count = 1;
    }
    if (switches & SWITCH_GUARD) {
        policy.require_name = STR("X-Guard");
        policy.require_value = STR("yes");
    }
    return policy;
}

/* How often each line that matters occurs in what was written; look-alikes count as the real thing. */
struct seen {
    unsigned host, authorization, length, coding, connection, upgrade, via, guard, forbidden;
};

static void see(struct seen *seen, struct str name, struct str value)
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
    FUZZ_ASSERT(!authorization || str_equal(value, STR(CREDENTIAL)));
    FUZZ_ASSERT(!host || str_equal(value, STR(HOST)));
    seen->authorization += authorization;
    seen->host += host;
    seen->length += header_names_alike(name, STR("content-length"));
    seen->coding += header_names_alike(name, STR("transfer-encoding"));
    seen->connection += header_names_alike(name, STR("connection"));
    seen->upgrade += header_names_alike(name, STR("upgrade"));
    seen->via += header_names_alike(name, STR("via"));
    seen->guard += header_names_alike(name, STR("x-guard"));
    for (size_t i = 0; i < sizeof never / sizeof never[0]; i++)
        seen->forbidden += header_names_alike(name, str_of(never[i]));
    seen->forbidden += name.n > 12 && header_names_alike((struct str){name.p, 12}, STR("x-forwarded-"));
}

/* Splits at CRLF and at the first colon, and allows nothing else that could end a line. */
static struct seen read_back(struct str text, struct str request_line)
{
    struct seen seen = {0};
    for (size_t line = 0;; line++) {
        const char *cr = memchr(text.p, '\r', text.n);
        FUZZ_ASSERT(cr != NULL);
        struct str s = {text.p, (size_t)(cr - text.p)};
        FUZZ_ASSERT(text.n > s.n + 1 && cr[1] == '\n');
        FUZZ_ASSERT(memchr(s.p, '\n', s.n) == NULL && memchr(s.p, 0, s.n) == NULL);
        text.p += s.n + 2;
        text.n -= s.n + 2;
        if (line == 0) {
            FUZZ_ASSERT(str_equal(s, request_line));
            continue;
        }
        if (s.n == 0)
            break;
        const char *colon = memchr(s.p, ':', s.n);
        FUZZ_ASSERT(colon != NULL && colon > s.p && colon[1] == ' ');
        struct str name = {s.p, (size_t)(colon - s.p)};
        FUZZ_ASSERT(memchr(name.p, ' ', name.n) == NULL && memchr(name.p, '\t', name.n) == NULL);
        see(&seen, name, (struct str){colon + 2, s.n - name.n - 2});
    }
    FUZZ_ASSERT(text.n == 0);
    return seen;
}

static void write_and_read_back(const struct admission *admitted, struct str method, const struct header_list *headers,
                                unsigned switches, const struct admission_policy *policy)
{
    struct request_head head = {.method = method,
                                .target = admitted->target.raw,
                                .prefix = switches & SWITCH_PREFIX ? STR("/base") : STR_NONE,
                                .host = STR(HOST),
                                .authorization = STR(CREDENTIAL),
                                .headers = headers,
                                .require_name = policy->require_name,
                                .framing = admitted->framing,
                                .content_length = admitted->content_length,
                                .websocket = admitted->websocket};
    struct buf out, line;
    buf_init(&out, 1u << 20);
    buf_init(&line, 1u << 20);
    FUZZ_ASSERT(request_write_head(&out, &head) == PP_OK);
    FUZZ_ASSERT(buf_printf(&line, "%.*s %.*s%.*s HTTP/1.1", (int)method.n, method.p, (int)head.prefix.n, head.prefix.p,
                           (int)head.target.n, head.target.p) == PP_OK);
    struct seen seen = read_back(buf_str(&out), buf_str(&line));
    FUZZ_ASSERT(seen.host == 1 && seen.authorization == 1 && seen.via == 1 && seen.forbidden == 0);
    FUZZ_ASSERT(seen.length + seen.coding <= 1 && (policy->require_name.n == 0 || seen.guard == 0));
    FUZZ_ASSERT((seen.coding == 1) == (admitted->framing == BODY_CHUNKED));
    FUZZ_ASSERT(admitted->framing != BODY_LENGTH || seen.length == 1);
    FUZZ_ASSERT(seen.upgrade == admitted->websocket && seen.connection == admitted->websocket);
    buf_wipe(&out);
    buf_free(&line);
}

/* What may never be admitted, whatever else is right or wrong with the request. */
static void check_admitted(const struct admission_policy *policy, const struct admission_request *request,
                           const struct admission *admitted)
{
    const struct header_list *headers = request->headers;
    FUZZ_ASSERT(headers_count(headers, STR("Host")) <= 1);
    FUZZ_ASSERT(headers_count(headers, STR("Host")) == 1 || request->unix_socket);
    FUZZ_ASSERT(policy->allowed_origins_count > 0 || headers_count(headers, STR("Origin")) == 0);
    FUZZ_ASSERT(headers_count(headers, STR("Content-Length")) + headers_count(headers, STR("Transfer-Encoding")) <= 1);
    FUZZ_ASSERT(policy->require_name.n == 0 || headers_count(headers, policy->require_name) == 1);
    FUZZ_ASSERT(!policy->reject_authorization || headers_count(headers, STR("Authorization")) == 0);
    FUZZ_ASSERT(!policy->refuse_forwarded || headers_count(headers, STR("X-Forwarded-For")) == 0);
    FUZZ_ASSERT(admitted->framing != BODY_LENGTH || admitted->content_length <= policy->max_body);
    FUZZ_ASSERT(!admitted->websocket || (admitted->framing == BODY_NONE && str_equal(request->method, STR("GET"))));
    for (size_t i = 0; i < headers->count; i++)
        FUZZ_ASSERT(http_token_valid(headers->items[i].name) && header_value_valid(headers->items[i].value));
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    if (n < 1)
        return 0;
    unsigned switches = bytes[0];
    struct str rest = {(const char *)bytes + 1, n - 1};
    struct str line = lines_next(&rest);
    const char *first = line.n == 0 ? NULL : memchr(line.p, ' ', line.n);
    const char *last = line.n == 0 ? NULL : memrchr(line.p, ' ', line.n);
    if (first == NULL || last == first)
        return 0;
    struct header_list headers;
    bool whole = lines_headers(rest, &headers);
    struct admission_policy policy = policy_of(switches);
    struct admission_request request = {.peer_allowed = true,
                                        .unix_socket = (switches & SWITCH_UNIX) != 0,
                                        .method = {line.p, (size_t)(first - line.p)},
                                        .target = {first + 1, (size_t)(last - first - 1)},
                                        .version = {last + 1, (size_t)(line.p + line.n - last - 1)},
                                        .headers = &headers,
                                        .headers_cut = !whole};
    struct admission out;
    admission_check(&policy, &request, &out);
    FUZZ_ASSERT(memchr(out.detail, 0, sizeof out.detail) != NULL);
    if (out.refusal == REFUSAL_NONE) {
        FUZZ_ASSERT(whole);
        check_admitted(&policy, &request, &out);
        write_and_read_back(&out, request.method, &headers, switches, &policy);
    } else {
        struct buf body;
        buf_init(&body, 4096);
        FUZZ_ASSERT(reply_body(&body, out.refusal, out.detail, SENT_NO) == PP_OK);
        buf_free(&body);
    }
    request.peer_allowed = false;
    admission_check(&policy, &request, &out);
    FUZZ_ASSERT(out.refusal == REFUSAL_PEER);
    return 0;
}
