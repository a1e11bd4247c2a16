/* Giving memory back after a storm. */
#include "daemon/heap.h"

#include <features.h>

#ifdef __GLIBC__

#include <malloc.h>
#include <stddef.h>

#define HEAP_KEPT ((size_t)16 << 20) /* bytes free that are not worth the trouble */
#define HEAP_TOP  (1024 * 1024)      /* bytes free at the end of the heap that stay */

void heap_give_back(void)
{
    struct mallinfo2 now = mallinfo2();
    if (now.fordblks > HEAP_KEPT && now.fordblks > now.uordblks)
        (void)malloc_trim(HEAP_TOP);
}

#else /* other C libraries have their own ways */

void heap_give_back(void)
{
}

#endif
