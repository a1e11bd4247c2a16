/* Keeping memory for the next request, and giving it back after a storm. */
#include "daemon/heap.h"

#include <features.h>

#ifdef __GLIBC__

#include <malloc.h>
#include <stddef.h>

#define HEAP_KEPT ((size_t)16 << 20) /* bytes free that are not worth the trouble */
#define HEAP_TRIM                                                                                                      \
    (8 * 1024 * 1024)          /* bytes free at the end of a heap, from which on malloc gives them back by itself */
#define HEAP_MAP (256 * 1024)  /* bytes of one allocation from which on it is mapped alone, and unmapped when freed */
#define HEAP_TOP (1024 * 1024) /* bytes free at the end of the heap that stay */

void heap_keep(void)
{
    (void)mallopt(M_TRIM_THRESHOLD, HEAP_TRIM); /* also ends its guessing of both */
    (void)mallopt(M_MMAP_THRESHOLD, HEAP_MAP);
}

void heap_give_back(void)
{
    struct mallinfo2 now = mallinfo2();
    if (now.fordblks > HEAP_KEPT && now.fordblks > now.uordblks)
        (void)malloc_trim(HEAP_TOP);
}

#else /* other C libraries have their own ways */

void heap_keep(void)
{
}

void heap_give_back(void)
{
}

#endif
