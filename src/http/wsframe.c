/* Frame boundaries in a WebSocket byte stream, and Close frames. */
#include "http/wsframe.h"

enum { FRAME_CLOSE = 8, FRAME_CONTROL_MAX = 125, FRAME_FIN = 0x80, FRAME_OPCODE = 0x0f, FRAME_MASK = 0x80 };

void wsframe_init(struct wsframe *f)
{
    *f = (struct wsframe){.payload_left = 0};
}

/* How long this frame's header is, judged by as much of it as there is; at least 2. */
static size_t header_size(const struct wsframe *f)
{
    if (f->have < 2)
        return 2;
    size_t size = (f->header[1] & FRAME_MASK) != 0 ? 6 : 2;
    unsigned length = f->header[1] & 0x7fu;
    return size + (length == 126 ? 2 : length == 127 ? 8 : 0);
}

/* The length a complete header names. */
static uint64_t payload_length(const struct wsframe *f)
{
    uint64_t length = f->header[1] & 0x7fu;
    size_t extra = length == 126 ? 2 : length == 127 ? 8 : 0;
    if (extra > 0)
        length = 0;
    for (size_t i = 0; i < extra; i++)
        length = length << 8 | f->header[2 + i];
    return length;
}

/* RFC 6455 5.2 and 5.5. Reserved bits are left to the extensions the two sides agreed on. */
static bool header_breaks(const struct wsframe *f, uint64_t length)
{
    unsigned opcode = f->header[0] & FRAME_OPCODE;
    if ((opcode >= 3 && opcode <= 7) || opcode >= 11)
        return true;
    if (opcode >= 8)
        return (f->header[0] & FRAME_FIN) == 0 || length > FRAME_CONTROL_MAX;
    return length >> 63 != 0;
}

static void frame_end(struct wsframe *f)
{
    f->in_payload = false;
    f->have = 0;
    if (f->opcode == FRAME_CLOSE)
        f->closed = true;
}

static void header_end(struct wsframe *f)
{
    uint64_t length = payload_length(f);
    f->opcode = f->header[0] & FRAME_OPCODE;
    if (header_breaks(f, length)) {
        f->broken = true;
        return;
    }
    f->payload_left = length;
    f->in_payload = true;
    if (length == 0)
        frame_end(f);
}

/* Takes bytes up to the end of a header or of a frame, or all of them; returns how many. At least one if there is one.
 */
static size_t advance(struct wsframe *f, const unsigned char *bytes, size_t n)
{
    if (f->in_payload) {
        size_t taken = f->payload_left < n ? (size_t)f->payload_left : n;
        f->payload_left -= taken;
        if (f->payload_left == 0)
            frame_end(f);
        return taken;
    }
    size_t taken = 0;
    while (taken < n && f->have < header_size(f))
        f->header[f->have++] = bytes[taken++];
    if (f->have == header_size(f))
        header_end(f);
    return taken;
}

void wsframe_feed(struct wsframe *f, const void *bytes, size_t n)
{
    const unsigned char *p = bytes;
    for (size_t at = 0; at < n && !f->broken;)
        at += advance(f, p + at, n - at);
}

static bool between_frames(const struct wsframe *f)
{
    return !f->broken && !f->in_payload && f->have == 0;
}

size_t wsframe_to_boundary(const struct wsframe *f, const void *bytes, size_t n)
{
    const unsigned char *p = bytes;
    struct wsframe ahead = *f;
    size_t at = 0;
    while (at < n && !ahead.broken && !between_frames(&ahead))
        at += advance(&ahead, p + at, n - at);
    return ahead.broken ? n : at;
}

bool wsframe_at_boundary(const struct wsframe *f)
{
    return between_frames(f) && !f->closed;
}

enum pp_result wsframe_write_close(struct buf *out, unsigned code, struct str reason, const unsigned char *mask)
{
    unsigned char frame[2 + 4 + FRAME_CONTROL_MAX];
    size_t length = 2 + reason.n, n = 0;
    if (reason.n > FRAME_CONTROL_MAX - 2 || code > 0xffff)
        return PP_INVALID;
    frame[n++] = FRAME_FIN | FRAME_CLOSE;
    frame[n++] = (unsigned char)(length | (mask != NULL ? FRAME_MASK : 0u));
    if (mask != NULL) {
        memcpy(frame + n, mask, 4);
        n += 4;
    }
    unsigned char *payload = frame + n;
    payload[0] = (unsigned char)(code >> 8);
    payload[1] = (unsigned char)(code & 0xff);
    if (reason.n > 0)
        memcpy(payload + 2, reason.p, reason.n);
    for (size_t i = 0; mask != NULL && i < length; i++)
        payload[i] ^= mask[i % 4];
    return buf_append(out, frame, n + length);
}
