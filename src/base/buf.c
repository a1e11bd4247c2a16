/* Bounded growing byte buffer. */
#include "base/buf.h"

#include <stdio.h>
#include <stdlib.h>

#define BUF_FIRST_SIZE 256u

void buf_init(struct buf *b, size_t limit)
{
    *b = (struct buf){.limit = limit};
}

void buf_free(struct buf *b)
{
    free(b->data);
    buf_init(b, b->limit);
}

void buf_wipe(struct buf *b)
{
    if (b->data != NULL)
        explicit_bzero(b->data, b->size);
    buf_free(b);
}

void buf_clear(struct buf *b)
{
    b->start = b->end = 0;
    b->failed = false;
}

enum pp_result buf_reserve(struct buf *b, size_t want, char **at, size_t *room)
{
    size_t len = buf_len(b);
    if (want > b->limit - len)
        return PP_LIMIT;
    if (b->size - b->end < want && b->start > 0) { /* slide down before growing */
        memmove(b->data, b->data + b->start, len);
        b->start = 0;
        b->end = len;
    }
    if (b->size - b->end < want) {
        size_t size = b->size > 0 ? b->size : b->limit < BUF_FIRST_SIZE ? b->limit : BUF_FIRST_SIZE;
        while (size < len + want)
            size = size > b->limit / 2 ? b->limit : size * 2;
        char *data = malloc(size); /* not realloc: the old copy may hold a token and must be wiped */
        if (data == NULL)
            return PP_NOMEM;
        if (b->data != NULL) {
            memcpy(data, b->data, len);
            explicit_bzero(b->data, b->size);
            free(b->data);
        }
        b->data = data;
        b->size = size;
    }
    *at = b->data + b->end;
    *room = b->size - b->end;
    if (*room > b->limit - len)
        *room = b->limit - len;
    return PP_OK;
}

void buf_added(struct buf *b, size_t n)
{
    b->end += n;
}

enum pp_result buf_append_growing(struct buf *b, const void *bytes, size_t n)
{
    char *at;
    size_t room;
    if (n == 0)
        return PP_OK;
    enum pp_result rc = b->failed ? PP_LIMIT : buf_reserve(b, n, &at, &room);
    if (rc != PP_OK) {
        b->failed = true;
        return rc;
    }
    memcpy(at, bytes, n);
    b->end += n;
    return PP_OK;
}

enum pp_result buf_printf(struct buf *b, const char *format, ...)
{
    char small[256];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(small, sizeof small, format, args);
    va_end(args);
    if (n < 0) {
        b->failed = true;
        return PP_INVALID;
    }
    if ((size_t)n < sizeof small)
        return buf_append(b, small, (size_t)n);

    char *large = malloc((size_t)n + 1); /* vsnprintf(3) ends it with a NUL, for which there may be no room */
    if (large == NULL) {
        b->failed = true;
        return PP_NOMEM;
    }
    va_start(args, format);
    (void)vsnprintf(large, (size_t)n + 1, format, args);
    va_end(args);
    enum pp_result rc = buf_append(b, large, (size_t)n);
    free(large);
    return rc;
}

void buf_consume_wipe(struct buf *b, size_t n)
{
    if (n > 0)
        explicit_bzero(b->data + b->start, n);
    buf_consume(b, n);
}

void buf_consume(struct buf *b, size_t n)
{
    b->start += n;
    if (b->start == b->end)
        b->start = b->end = 0;
}
