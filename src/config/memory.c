/* Blocks in a list, wiped and freed together. */
#include "config/memory.h"

#include "base/crypto.h"

#include <stdalign.h>
#include <stdint.h>
#include <stdlib.h>

struct memory_block {
    struct memory_block *older;
    size_t size; /* of bytes */
    alignas(max_align_t) unsigned char bytes[];
};

void *memory_take(struct memory *m, size_t n)
{
    if (n > SIZE_MAX - sizeof(struct memory_block))
        return NULL;
    struct memory_block *block = calloc(1, sizeof *block + n);
    if (block == NULL)
        return NULL;
    block->older = m->newest;
    block->size = n;
    m->newest = block;
    return block->bytes;
}

char *memory_copy(struct memory *m, struct str text)
{
    char *copy = memory_take(m, text.n + 1);

    if (copy != NULL && text.n > 0)
        memcpy(copy, text.p, text.n);
    return copy;
}

void memory_release(struct memory *m)
{
    while (m->newest != NULL) {
        struct memory_block *block = m->newest;
        m->newest = block->older;
        secret_wipe(block->bytes, block->size); /* the text of a file may hold a token */
        free(block);
    }
}
