/* A few per cent too much: linked into a copy of the daemon, so that the guard shows that it would notice.
 *
 * The linker's --wrap puts this in front of upstream_release, which every request passes once. GUARD_SLOWER names how
 * many rounds of a loop of two instructions are turned; one allocation and one system call are added as well. */
#include "net/upstream.h"

#include <stdlib.h>
#include <unistd.h>

void __real_upstream_release(struct upstream_connection *c, bool reusable, msec keep_alive);
void __wrap_upstream_release(struct upstream_connection *c, bool reusable, msec keep_alive);

void __wrap_upstream_release(struct upstream_connection *c, bool reusable, msec keep_alive)
{
    const char *asked = getenv("GUARD_SLOWER");
    void *volatile memory = malloc(1);
    free(memory);
    (void)getppid();
    for (long i = asked == NULL ? 0 : strtol(asked, NULL, 10); i > 0; i--)
        __asm__ volatile("" ::: "memory");
    __real_upstream_release(c, reusable, keep_alive);
}
