/* A growing byte buffer with a hard ceiling set at birth: every queue and every piece of a message in the daemon is
 * one.
 *
 * Reading takes from the front (buf_consume), writing appends at the back. Memory is given back when the buffer is
 * emptied by buf_free; buf_consume to empty keeps the storage for the next use. Not thread-safe: one owner. */
#ifndef PP_BASE_BUF_H
#define PP_BASE_BUF_H

#include "base/result.h"
#include "base/str.h"

#include <stdarg.h>

struct buf {
    char *data;   /* storage; NULL before the first append and after buf_free */
    size_t start; /* offset of the first unread byte */
    size_t end;   /* offset after the last byte */
    size_t size;  /* bytes of storage, never more than the limit */
    size_t limit; /* no more than this many unread bytes, ever */
    bool failed;  /* an append did not fit or memory ran out; contents are then cut short and must not be used */
};

/* No allocation happens here. `limit` in bytes, at least 1. */
void buf_init(struct buf *b, size_t limit);

/* Releases the storage; the buffer can be used again with the same limit. Safe on a zeroed struct. */
void buf_free(struct buf *b);

/* The same, after overwriting every byte of the storage: for buffers that held a token. */
void buf_wipe(struct buf *b);

/* Forgets the contents and the failed mark, keeps the storage. */
void buf_clear(struct buf *b);

/* Appends. Past the limit: PP_LIMIT; no memory: PP_NOMEM. Either sets `failed` and appends nothing. A run of appends
 * may therefore be written without looking, if `failed` is looked at once in the end. */
static inline enum pp_result buf_append(struct buf *b, const void *bytes, size_t n);
static inline enum pp_result buf_append_str(struct buf *b, struct str s);
static inline enum pp_result buf_append_char(struct buf *b, char c);
enum pp_result buf_printf(struct buf *b, const char *format, ...) PP_PRINTF(2, 3);

/* Room for at least `want` further bytes, to be written at *at and then accounted for with buf_added. PP_LIMIT or
 * PP_NOMEM otherwise; neither sets `failed`. *room is what is there, never more than the limit allows. */
enum pp_result buf_reserve(struct buf *b, size_t want, char **at, size_t *room) PP_MUST_CHECK;
void buf_added(struct buf *b, size_t n);

/* Takes `n` bytes (at most buf_len) from the front. */
void buf_consume(struct buf *b, size_t n);

/* The same, and overwrites them: for bytes among which a token went out. A buffer that was never all consumed may hold
 * a second copy of what moved when it grew: buf_wipe in the end nevertheless. */
void buf_consume_wipe(struct buf *b, size_t n);

static inline size_t buf_len(const struct buf *b)
{
    return b->end - b->start;
}

/* How many more bytes the limit allows. */
static inline size_t buf_room(const struct buf *b)
{
    return b->limit - buf_len(b);
}

/* Private: an append for which there may be no room yet. */
enum pp_result buf_append_growing(struct buf *b, const void *bytes, size_t n);

/* Log lines and heads are made of many short pieces: where there is room, a piece costs a copy and no call. */
static inline enum pp_result buf_append(struct buf *b, const void *bytes, size_t n)
{
    if (n == 0 || n > b->size - b->end || b->failed)
        return buf_append_growing(b, bytes, n);
    memcpy(b->data + b->end, bytes, n);
    b->end += n;
    return PP_OK;
}

static inline enum pp_result buf_append_str(struct buf *b, struct str s)
{
    return buf_append(b, s.p, s.n);
}

static inline enum pp_result buf_append_char(struct buf *b, char c)
{
    return buf_append(b, &c, 1);
}

/* The unread bytes; valid until the next call on this buffer. */
static inline struct str buf_str(const struct buf *b)
{
    return (struct str){b->data == NULL ? NULL : b->data + b->start, b->end - b->start};
}

#endif
