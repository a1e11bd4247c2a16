/* Workloads of http/: the answers of our own and the head of a request. */
#include "http/reply.h"
#include "http/request.h"
#include "workload.h"

/* Whichever allocation fails, there is a body that says it, or none. */
static enum outcome reply(void)
{
    enum outcome outcome = DONE;
    for (int i = REFUSAL_NONE + 1; i < REFUSAL_COUNT; i++) {
        struct buf out;
        buf_init(&out, 4096);
        if (ok(reply_body(&out, (enum refusal)i, i % 2 == 0 ? "a detail" : "", SENT_NO))) {
            struct str body = buf_str(&out);
            must(body.p != NULL && body.n > 2 && body.p[0] == '{' && body.p[body.n - 1] == '\n' &&
                 body.p[body.n - 2] == '}');
            must(memmem(body.p, body.n, reply_rule((enum refusal)i)->code, strlen(reply_rule((enum refusal)i)->code)) !=
                 NULL);
            must(memmem(body.p, body.n, "\"sent\":\"no\"", 11) != NULL);
        } else {
            must(out.failed && buf_len(&out) == 0);
            outcome = REFUSED;
        }
        buf_free(&out);
    }
    return outcome;
}

static enum outcome request(void)
{
    static struct header_list headers;
    char value[3000];
    memset(value, 'v', sizeof value);
    headers.count = 0;
    for (int i = 0; i < 4; i++)
        (void)headers_add(&headers, str_of("X-Long"), (struct str){value, sizeof value});
    struct request_head head = {.method = str_of("POST"),
                                .target = str_of("/widget/session?a=b"),
                                .prefix = str_of("/v1"),
                                .host = str_of("api.example"),
                                .authorization = str_of("Bearer x"),
                                .headers = &headers,
                                .framing = BODY_LENGTH,
                                .content_length = 12};
    struct buf out;
    enum outcome outcome = REFUSED;
    buf_init(&out, 32768);
    if (ok(request_write_head(&out, &head))) {
        must(!out.failed && memmem(out.data, out.end, "\r\nAuthorization: Bearer x\r\n", 27) != NULL);
        must(memcmp(out.data + out.end - 4, "\r\n\r\n", 4) == 0);
        outcome = DONE;
    } else {
        must(out.failed || buf_len(&out) == 0);
    }
    buf_wipe(&out);
    return outcome;
}

const struct workload http_workloads[] = {
    {"http-reply", reply, NULL, 0, 40},
    {"http-request", request, NULL, 0, 1},
    {0},
};
