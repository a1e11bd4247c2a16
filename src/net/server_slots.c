/* The memory of clients' connections in libmicrohttpd: slots, used again while they are warm, empty while they rest.
 *
 * libmicrohttpd 0.9.75 wants 48 KiB for each connection, maps it when it comes, zeroes all of it after each request and
 * unmaps it when it goes. Mapping was 29 % of the CPU of clients that connect anew for every request; being zeroed
 * means being resident, 48 KiB for a client that may be idle for a day. So the mapping is answered from here
 * (replaced_calls.c).
 *
 * Each thread has slots of its own and takes no lock: libmicrohttpd runs a connection in one thread from beginning to
 * end. They are kept until the process ends. */
#include "net/server_private.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define SLOT         ((size_t)SERVER_CONNECTION_MEMORY)
#define SLOTS        32768u /* of a thread; address space only, connections beyond get theirs from the heap */
#define OPENED       16u    /* slots made accessible in one go */
#define WARM         256u   /* free slots that keep their pages, at most */
#define KEPT         16u    /* of these, also when none of them is taken for long */
#define SLOTS_REGION (SLOTS * SLOT)

struct slots {
    char *region;          /* NULL: none yet, or the kernel gave none */
    uint32_t *cold;        /* free slots without pages */
    uint32_t cold_count;   /* of these */
    uint32_t warm[WARM];   /* free slots with pages */
    uint32_t warm_count;   /* of these; the last one is taken first */
    uint32_t least;        /* what warm_count went down to since they were cooled */
    uint32_t used, opened; /* slots that were ever taken, and that are accessible */
    void *last;            /* the slot taken last */
};

static _Thread_local struct slots slots;

/* Address space that costs nothing until it is opened and touched. */
static bool reserve(struct slots *s)
{
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    const size_t list = SLOTS * sizeof *s->cold;
    char *region = mmap(NULL, SLOTS_REGION, PROT_NONE, flags, -1, 0);
    if (region == MAP_FAILED)
        return false;
    uint32_t *cold = mmap(NULL, list, PROT_READ | PROT_WRITE, flags, -1, 0);
    if (cold == MAP_FAILED) {
        (void)munmap(region, SLOTS_REGION);
        return false;
    }
    (void)madvise(region, SLOTS_REGION, MADV_NOHUGEPAGE); /* a huge page would be resident for one client */
    s->region = region;
    s->cold = cold;
    return true;
}

static bool open_more(struct slots *s)
{
    if (s->opened == SLOTS || mprotect(s->region + s->opened * SLOT, OPENED * SLOT, PROT_READ | PROT_WRITE) != 0)
        return false;
    s->opened += OPENED;
    return true;
}

void *slot_take(void)
{
    struct slots *s = &slots;
    uint32_t slot;
    s->last = NULL;
    if (s->region == NULL && !reserve(s))
        return NULL;
    if (s->warm_count > 0) {
        slot = s->warm[--s->warm_count];
        s->least = s->warm_count < s->least ? s->warm_count : s->least;
    } else if (s->cold_count > 0) {
        slot = s->cold[--s->cold_count];
    } else if (s->used < s->opened || open_more(s)) {
        slot = s->used++;
    } else {
        return NULL;
    }
    s->last = s->region + slot * SLOT;
    return s->last;
}

static bool is_slot(const struct slots *s, const char *memory)
{
    return s->region != NULL && memory >= s->region && memory < s->region + SLOTS_REGION;
}

static void cool(struct slots *s, uint32_t slot)
{
    (void)madvise(s->region + slot * SLOT, SLOT, MADV_DONTNEED);
    s->cold[s->cold_count++] = slot;
}

bool slot_give(void *memory)
{
    struct slots *s = &slots;
    if (!is_slot(s, memory))
        return false;
    uint32_t slot = (uint32_t)((size_t)((char *)memory - s->region) / SLOT);
    if (s->warm_count < WARM)
        s->warm[s->warm_count++] = slot;
    else
        cool(s, slot);
    return true;
}

bool slots_cool(void)
{
    struct slots *s = &slots;
    uint32_t spare = s->warm_count > KEPT ? s->warm_count - KEPT : 0, n = s->least < spare ? s->least : spare;
    for (uint32_t i = 0; i < n; i++)
        cool(s, s->warm[i]);
    s->warm_count -= n;
    memmove(s->warm, s->warm + n, s->warm_count * sizeof s->warm[0]);
    s->least = s->warm_count;
    return s->warm_count > KEPT;
}

void *slot_taken_last(void)
{
    return slots.last;
}

static bool is_zero(const char *page, size_t n)
{
    return page[0] == 0 && memcmp(page, page + 1, n - 1) == 0;
}

void slot_rest(void *memory)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), zero = 0; /* bytes without content before `at` */
    char *at = memory, *end = at + SLOT;
    if (!is_slot(&slots, memory))
        return;
    for (; at < end; at += page) {
        if (is_zero(at, page)) {
            zero += page;
            continue;
        }
        if (zero > 0)
            (void)madvise(at - zero, zero, MADV_DONTNEED);
        zero = 0;
    }
    if (zero > 0)
        (void)madvise(at - zero, zero, MADV_DONTNEED);
}
