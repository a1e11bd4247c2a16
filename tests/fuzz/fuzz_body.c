/* Fuzzes the body reader: the same payload and the same verdict however the bytes are split, and what a naive decoder
 * of the whole says.
 *
 * Input: a byte (bits 0-1: framing, the rest: size of the pieces), two bytes of length, then the body. */
#include "fuzz.h"

#include "base/buf.h"
#include "http/response.h"

struct outcome {
    enum pp_result rc, eof;
    struct buf payload;
    size_t taken;
};

/* `step` bytes at a time; 0: pieces of changing size. */
static void decode(enum response_framing framing, int64_t length, struct str bytes, size_t step, struct outcome *o)
{
    struct body_reader reader;
    body_reader_init(&reader, framing, length);
    buf_init(&o->payload, bytes.n + 1);
    o->taken = 0;
    o->rc = PP_AGAIN;
    size_t at = 0, size = step;
    while (o->rc != PP_END && o->rc != PP_INVALID && at < bytes.n) {
        size = step > 0 ? step : size * 5 % 17 + 1;
        struct str in = {bytes.p + at, bytes.n - at < size ? bytes.n - at : size}, data;
        const char *start = in.p;
        do {
            const char *before = in.p;
            o->rc = body_reader_next(&reader, &in, &data);
            FUZZ_ASSERT(in.p >= before && in.p + in.n <= bytes.p + bytes.n);
            FUZZ_ASSERT(data.n == 0 || (data.p >= before && data.p + data.n == in.p));
            FUZZ_ASSERT(o->rc != PP_OK || in.p > before);
            buf_append_str(&o->payload, data);
        } while (o->rc == PP_OK && in.n > 0);
        FUZZ_ASSERT(o->rc == PP_END || o->rc == PP_INVALID || in.n == 0);
        at += (size_t)(in.p - start);
    }
    if (bytes.n == 0) {
        struct str in = bytes, data;
        o->rc = body_reader_next(&reader, &in, &data);
    }
    o->taken = at;
    o->eof = body_reader_eof(&reader);
    FUZZ_ASSERT(!o->payload.failed);
    if (o->rc == PP_OK)
        o->rc = PP_AGAIN;
}

/* The whole of a chunked body at once, by searching for its line ends: its payload's size, or -1 if it is not one whole
 * and proper body with nothing behind it. Trailers are left to the code under test. */
static int64_t naive_chunked(struct str in)
{
    int64_t payload = 0;
    for (;;) {
        const char *end = memmem(in.p, in.n, "\r\n", 2);
        if (end == NULL || end == in.p || end - in.p > 16)
            return -1;
        uint64_t size = 0;
        for (const char *p = in.p; p < end; p++) {
            if (strchr("0123456789abcdefABCDEF", *p) == NULL || *p == 0)
                return -1;
            size = size * 16 + (uint64_t)strtol((char[]){*p, 0}, NULL, 16);
        }
        size_t line = (size_t)(end - in.p) + 2;
        if (size > in.n - line || in.n - line - size < 2 || memcmp(end + 2 + size, "\r\n", 2) != 0)
            return -1;
        in.p += line + size + 2;
        in.n -= line + size + 2;
        payload += (int64_t)size;
        if (size == 0)
            return in.n == 0 ? payload : -1;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    static const enum response_framing framings[] = {RESPONSE_CHUNKED, RESPONSE_LENGTH, RESPONSE_UNTIL_CLOSE,
                                                     RESPONSE_NO_BODY};
    if (n < 3)
        return 0;
    enum response_framing framing = framings[bytes[0] & 3];
    int64_t length = bytes[1] * 256 + bytes[2] + 1;
    struct str body = {(const char *)bytes + 3, n - 3};

    struct outcome whole;
    decode(framing, length, body, body.n + 1, &whole);
    size_t steps[] = {1, 0, (bytes[0] >> 2) + 1u};
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        struct outcome pieces;
        decode(framing, length, body, steps[i], &pieces);
        FUZZ_ASSERT(pieces.rc == whole.rc && pieces.eof == whole.eof && pieces.taken == whole.taken);
        FUZZ_ASSERT(str_equal(buf_str(&pieces.payload), buf_str(&whole.payload)));
        buf_free(&pieces.payload);
    }
    FUZZ_ASSERT((whole.rc == PP_END) ==
                (whole.eof == PP_END && framing != RESPONSE_UNTIL_CLOSE)); /* whose end is the connection's */
    if (framing == RESPONSE_LENGTH)
        FUZZ_ASSERT(buf_len(&whole.payload) == (body.n < (size_t)length ? body.n : (size_t)length));
    if (framing == RESPONSE_CHUNKED && naive_chunked(body) >= 0)
        FUZZ_ASSERT(whole.rc == PP_END && whole.taken == body.n &&
                    (int64_t)buf_len(&whole.payload) == naive_chunked(body));
    buf_free(&whole.payload);
    return 0;
}
