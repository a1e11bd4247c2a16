/* Fuzzes http/admission and http/request together: what is admitted and written upstream is read again by a second,
 * naive reader, which must find one request with one Host, one credential and one framing, whatever the client sent.
 *
 * Input: a byte of switches, then lines: "METHOD TARGET VERSION", and one "name:value" per further line. */
#include "fuzz.h"

#include "http/request.h"
#include "lines.h"
#include "written.h"

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
    const struct written_rules rules = {STR(HOST), STR(CREDENTIAL), policy->require_name};
    struct written seen = written_read(buf_str(&out), &rules);
    FUZZ_ASSERT(str_equal(seen.line, buf_str(&line)));
    FUZZ_ASSERT((seen.coding == 1) == (admitted->framing == BODY_CHUNKED));
    FUZZ_ASSERT(admitted->framing != BODY_LENGTH || seen.lengths == 1);
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
