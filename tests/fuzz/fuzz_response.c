/* Fuzzes http/response: a head's verdict does not depend on how its bytes arrive, what is accepted says the same when
 * it is written down and read again, and nothing behind a head matters.
 *
 * Input: a byte (bit 0: answer to HEAD), then the answer. */
#include "fuzz.h"

#include "base/buf.h"
#include "http/response.h"

struct verdict {
    enum pp_result rc;
    struct response_head head;
    size_t consumed;
    const char *what;
};

static void parse(struct str bytes, bool to_head, struct verdict *v)
{
    v->consumed = 0;
    v->what = NULL;
    v->rc = response_parse_head(bytes, to_head, &v->head, &v->consumed, &v->what);
    FUZZ_ASSERT(v->rc == PP_OK || v->rc == PP_AGAIN || v->rc == PP_LIMIT || v->rc == PP_INVALID);
    FUZZ_ASSERT((v->what != NULL) == (v->rc == PP_LIMIT || v->rc == PP_INVALID));
    FUZZ_ASSERT((v->consumed > 0) == (v->rc == PP_OK));
}

static bool within(struct str part, struct str whole)
{
    return part.n == 0 || (part.p >= whole.p && part.p + part.n <= whole.p + whole.n);
}

static void check_meaning(const struct verdict *v, struct str bytes, bool to_head)
{
    const struct response_head *h = &v->head;
    struct str head = {bytes.p, v->consumed};
    FUZZ_ASSERT(head.n >= 17 && memcmp(head.p + head.n - 4, "\r\n\r\n", 4) == 0);
    FUZZ_ASSERT(memmem(head.p, head.n - 1, "\r\n\r\n", 4) == NULL);
    FUZZ_ASSERT(h->status >= 100 && h->status <= 599 && h->headers.count <= LIMIT_HEADERS && within(h->reason, head));
    for (size_t i = 0; i < h->headers.count; i++) {
        const struct header *line = &h->headers.items[i];
        FUZZ_ASSERT(within(line->name, head) && within(line->value, head));
        FUZZ_ASSERT(http_token_valid(line->name) && header_value_valid(line->value));
        FUZZ_ASSERT(str_trim(line->value).n == line->value.n);
    }
    size_t lengths = headers_count(&h->headers, STR("content-length"));
    size_t codings = headers_count(&h->headers, STR("transfer-encoding"));
    FUZZ_ASSERT(lengths + codings <= 1);
    FUZZ_ASSERT((h->content_length >= 0) == (lengths == 1));
    bool none = to_head || h->status < 200 || h->status == 204 || h->status == 304 || h->content_length == 0;
    FUZZ_ASSERT((h->framing == RESPONSE_NO_BODY) == none);
    FUZZ_ASSERT((h->framing == RESPONSE_CHUNKED) == (!none && codings == 1));
    FUZZ_ASSERT((h->framing == RESPONSE_UNTIL_CLOSE) == (!none && codings + lengths == 0));
    FUZZ_ASSERT(!h->keep_alive || (h->framing != RESPONSE_UNTIL_CLOSE &&
                                   !headers_list_has(&h->headers, STR("connection"), STR("close"))));
    for (size_t i = 0; i < h->keep_alive_timeout.n; i++)
        FUZZ_ASSERT(h->keep_alive_timeout.p[i] >= '0' && h->keep_alive_timeout.p[i] <= '9');
}

/* Written down plainly, it reads the same. */
static void check_round_trip(const struct verdict *v, bool to_head)
{
    const struct response_head *h = &v->head;
    struct buf text;
    buf_init(&text, 4 * LIMIT_RESPONSE_HEAD);
    buf_printf(&text, "HTTP/1.%d %d ", h->http10 ? 0 : 1, h->status);
    buf_append_str(&text, h->reason);
    for (size_t i = 0; i < h->headers.count; i++) {
        buf_append(&text, "\r\n", 2);
        buf_append_str(&text, h->headers.items[i].name);
        buf_append_char(&text, ':');
        buf_append_str(&text, h->headers.items[i].value);
    }
    FUZZ_ASSERT(buf_append(&text, "\r\n\r\n", 4) == PP_OK);
    struct verdict again;
    parse(buf_str(&text), to_head, &again);
    FUZZ_ASSERT(again.rc == PP_OK && again.consumed == buf_len(&text) && again.consumed <= v->consumed);
    FUZZ_ASSERT(again.head.status == h->status && again.head.framing == h->framing);
    FUZZ_ASSERT(again.head.content_length == h->content_length && again.head.keep_alive == h->keep_alive);
    FUZZ_ASSERT(str_equal(again.head.reason, h->reason) && again.head.headers.count == h->headers.count);
    for (size_t i = 0; i < h->headers.count; i++)
        FUZZ_ASSERT(str_equal(again.head.headers.items[i].value, h->headers.items[i].value));
    buf_free(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    static struct verdict whole, piece;
    if (n < 1)
        return 0;
    bool to_head = bytes[0] & 1;
    struct str text = {(const char *)bytes + 1, n - 1};
    parse(text, to_head, &whole);
    if (whole.rc == PP_OK) {
        check_meaning(&whole, text, to_head);
        check_round_trip(&whole, to_head);
    }
    /* Every shorter piece when there are few, else some of them. */
    bool settled = false;
    for (size_t cut = 0; cut < text.n; cut += text.n < 600 ? 1 : text.n / 200) {
        parse((struct str){text.p, cut}, to_head, &piece);
        FUZZ_ASSERT(!settled || piece.rc != PP_AGAIN);
        settled = piece.rc != PP_AGAIN;
        if (settled) {
            FUZZ_ASSERT(piece.rc == whole.rc && piece.consumed == whole.consumed && piece.what == whole.what);
            break; /* what it says of these bytes it says of all */
        }
    }
    FUZZ_ASSERT(whole.rc != PP_OK || whole.consumed == text.n || settled || text.n >= 600);
    return 0;
}
