/* Fuzzes http/wsframe: the same state however the bytes are split, boundaries where a naive reader of whole frames sees
 * them, and a Close frame put in at a boundary is seen as one. */
#include "fuzz.h"

#include "http/wsframe.h"

static bool same(const struct wsframe *a, const struct wsframe *b)
{
    return a->broken == b->broken && a->closed == b->closed &&
           (a->broken || (a->in_payload == b->in_payload && a->have == b->have && a->payload_left == b->payload_left &&
                          memcmp(a->header, b->header, a->have) == 0));
}

/* The size of the frame at the front, header included: 0 if it is not all there, SIZE_MAX if it is none. */
static size_t naive_frame(const uint8_t *p, size_t n, bool *close)
{
    if (n < 2)
        return 0;
    unsigned opcode = p[0] % 16;
    uint64_t length = p[1] % 128;
    size_t at = 2;
    if (length >= 126) {
        size_t extra = length == 126 ? 2 : 8;
        if (n < at + extra + (p[1] >= 128 ? 4 : 0))
            return 0;
        length = 0;
        for (size_t i = 0; i < extra; i++)
            length = length * 256 + p[at + i];
        at += extra;
    }
    at += p[1] >= 128 ? 4 : 0;
    if (n < at)
        return 0;
    bool control = opcode >= 8;
    if (opcode % 8 > 2 || (control && (p[0] < 128 || length > 125)) || length > INT64_MAX)
        return SIZE_MAX;
    *close = opcode == 8;
    return length > n - at ? 0 : at + (size_t)length;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    struct wsframe whole, single;
    wsframe_init(&whole);
    wsframe_init(&single);
    wsframe_feed(&whole, bytes, n);
    size_t boundary = 0; /* where the naive reader is */
    bool broken = false, closed = false;
    for (size_t at = 0; at <= n; at++) {
        if (at > 0)
            wsframe_feed(&single, bytes + at - 1, 1);
        bool close = false;
        size_t frame = broken ? 0 : naive_frame(bytes + boundary, at - boundary, &close);
        broken |= frame == SIZE_MAX;
        if (frame > 0 && !broken) {
            FUZZ_ASSERT(boundary + frame == at);
            boundary = at;
            closed |= close;
        }
        FUZZ_ASSERT(single.broken == broken && single.closed == closed);
        FUZZ_ASSERT(wsframe_at_boundary(&single) == (!broken && !closed && boundary == at));

        size_t to = wsframe_to_boundary(&single, bytes + at, n - at);
        FUZZ_ASSERT(to <= n - at);
        FUZZ_ASSERT(broken || (to == 0) == (boundary == at || at == n));
        struct wsframe ahead = single;
        wsframe_feed(&ahead, bytes + at, to);
        FUZZ_ASSERT(to == n - at || broken || (!ahead.broken && !ahead.in_payload && ahead.have == 0));
        if (at > 4096)
            break;
    }
    FUZZ_ASSERT(n > 4096 || same(&whole, &single));

    if (wsframe_at_boundary(&whole)) {
        struct buf out;
        const unsigned char mask[4] = {1, 2, 3, 4};
        buf_init(&out, 256);
        FUZZ_ASSERT(wsframe_write_close(&out, 1012, STR("service restart"), n % 2 ? mask : NULL) == PP_OK);
        wsframe_feed(&whole, buf_str(&out).p, buf_len(&out));
        FUZZ_ASSERT(whole.closed && !whole.broken && !wsframe_at_boundary(&whole));
        buf_free(&out);
    }
    return 0;
}
