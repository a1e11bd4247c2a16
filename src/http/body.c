/* A response body, decoded in place as its bytes arrive: by length, chunked, or until the connection ends. */
#include "http/response.h"

#include "http/chars.h"

enum chunk_state {
    CHUNK_SIZE_FIRST, /* the first digit of a chunk size */
    CHUNK_SIZE,       /* further digits, `;` or CR */
    CHUNK_EXTENSION,  /* skipped up to CR */
    CHUNK_SIZE_LF,
    CHUNK_DATA,
    CHUNK_DATA_CR,
    CHUNK_DATA_LF,
    CHUNK_TRAILER_FIRST, /* the start of a trailer line, or the CR of the empty line */
    CHUNK_TRAILER_NAME,
    CHUNK_TRAILER_VALUE,
    CHUNK_TRAILER_LF,
    CHUNK_LAST_LF,
    CHUNK_DONE,
    CHUNK_BAD
};

#define SIZE_DIGITS 16u

void body_reader_init(struct body_reader *r, enum response_framing framing, int64_t content_length)
{
    *r = (struct body_reader){.framing = framing, .left = framing == RESPONSE_LENGTH ? content_length : 0};
}

static enum chunk_state size_digit(struct body_reader *r, char c)
{
    int digit = ascii_hex(c);
    if (digit < 0 || r->line >= SIZE_DIGITS || r->left > INT64_MAX >> 4)
        return CHUNK_BAD;
    r->left = r->left << 4 | digit;
    r->line++;
    return CHUNK_SIZE;
}

static enum chunk_state after_size(struct body_reader *r, char c)
{
    if (c == '\r')
        return CHUNK_SIZE_LF;
    if (c != ';')
        return size_digit(r, c);
    r->line++;
    return CHUNK_EXTENSION;
}

static enum chunk_state in_extension(struct body_reader *r, char c)
{
    if (c == '\r')
        return CHUNK_SIZE_LF;
    return chars_is(c, CHARS_VALUE) && ++r->line <= LIMIT_CHUNK_LINE ? CHUNK_EXTENSION : CHUNK_BAD;
}

/* A byte of the trailer section, which is held to the same rules as header lines and then forgotten. */
static enum chunk_state in_trailer(struct body_reader *r, enum chunk_state state, char c)
{
    if (++r->line > LIMIT_TRAILER_BYTES)
        return CHUNK_BAD;
    switch (state) {
    case CHUNK_TRAILER_FIRST:
        return c == '\r' ? CHUNK_LAST_LF : chars_is(c, CHARS_TOKEN) ? CHUNK_TRAILER_NAME : CHUNK_BAD;
    case CHUNK_TRAILER_NAME:
        return c == ':' ? CHUNK_TRAILER_VALUE : chars_is(c, CHARS_TOKEN) ? CHUNK_TRAILER_NAME : CHUNK_BAD;
    case CHUNK_TRAILER_VALUE:
        return c == '\r' ? CHUNK_TRAILER_LF : chars_is(c, CHARS_VALUE) ? CHUNK_TRAILER_VALUE : CHUNK_BAD;
    case CHUNK_TRAILER_LF:
        return c == '\n' ? CHUNK_TRAILER_FIRST : CHUNK_BAD;
    default: /* CHUNK_LAST_LF */
        return c == '\n' ? CHUNK_DONE : CHUNK_BAD;
    }
}

/* What one byte of chunk framing leads to. */
static enum chunk_state chunk_step(struct body_reader *r, enum chunk_state state, char c)
{
    switch (state) {
    case CHUNK_SIZE_FIRST:
        r->left = 0;
        r->line = 0;
        return size_digit(r, c);
    case CHUNK_SIZE:
        return after_size(r, c);
    case CHUNK_EXTENSION:
        return in_extension(r, c);
    case CHUNK_SIZE_LF:
        r->line = 0;
        if (c != '\n')
            return CHUNK_BAD;
        return r->left > 0 ? CHUNK_DATA : CHUNK_TRAILER_FIRST;
    case CHUNK_DATA_CR:
        return c == '\r' ? CHUNK_DATA_LF : CHUNK_BAD;
    case CHUNK_DATA_LF:
        return c == '\n' ? CHUNK_SIZE_FIRST : CHUNK_BAD;
    default:
        return in_trailer(r, state, c);
    }
}

static void take(struct str *in, struct str *data, size_t n)
{
    *data = (struct str){in->p, n};
    in->p += n;
    in->n -= n;
}

/* At most `left` bytes. */
static void take_left(struct body_reader *r, struct str *in, struct str *data)
{
    size_t n = (uint64_t)r->left < in->n ? (size_t)r->left : in->n;
    take(in, data, n);
    r->left -= (int64_t)n;
}

static enum pp_result next_chunked(struct body_reader *r, struct str *in, struct str *data)
{
    enum chunk_state state = (enum chunk_state)r->state;
    while (state != CHUNK_DATA && state != CHUNK_DONE && state != CHUNK_BAD && in->n > 0) {
        state = chunk_step(r, state, in->p[0]);
        in->p++;
        in->n--;
    }
    enum pp_result rc = PP_AGAIN;
    if (state == CHUNK_DATA && in->n > 0) {
        take_left(r, in, data);
        if (r->left == 0)
            state = CHUNK_DATA_CR;
        rc = PP_OK;
    } else if (state == CHUNK_DONE) {
        rc = PP_END;
    } else if (state == CHUNK_BAD) {
        rc = PP_INVALID;
    }
    r->state = (int)state;
    return rc;
}

enum pp_result body_reader_next(struct body_reader *r, struct str *in, struct str *data)
{
    *data = STR_NONE;
    switch (r->framing) {
    case RESPONSE_CHUNKED:
        return next_chunked(r, in, data);
    case RESPONSE_LENGTH:
        take_left(r, in, data);
        return r->left == 0 ? PP_END : data->n > 0 ? PP_OK : PP_AGAIN;
    case RESPONSE_UNTIL_CLOSE:
        take(in, data, in->n);
        return data->n > 0 ? PP_OK : PP_AGAIN;
    case RESPONSE_NO_BODY:
        break;
    }
    return PP_END;
}

enum pp_result body_reader_eof(const struct body_reader *r)
{
    switch (r->framing) {
    case RESPONSE_CHUNKED:
        return r->state == CHUNK_DONE ? PP_END : PP_BROKEN;
    case RESPONSE_LENGTH:
        return r->left == 0 ? PP_END : PP_BROKEN;
    case RESPONSE_UNTIL_CLOSE:
    case RESPONSE_NO_BODY:
        break;
    }
    return PP_END;
}
