/* mmap(2) for the whole process, libraries included: a client's memory in libmicrohttpd comes from the heap.
 *
 * libmicrohttpd 0.9.75 maps the memory of each connection and unmaps it at its end. For clients that connect anew for
 * every request that was 29 % of the CPU: two calls, 12 pages to be faulted in, zeroed and taken away again. When mmap
 * fails it asks malloc, which hands out what the client before left, warm. So just this mapping fails. The linker
 * prefers this definition to the C library's because libmicrohttpd refers to it. */
#include "net/server_private.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Sanitizers have their own, and want to see such memory come and go. Where a long has not 64 bits the call differs. */
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__) || !defined(__LP64__)
#define LEFT_ALONE
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer) || __has_feature(address_sanitizer)
#define LEFT_ALONE
#endif
#endif

#ifndef LEFT_ALONE

void *mmap(void *address, size_t n, int protection, int flags, int fd, off_t offset)
{
    if (address == NULL && n == SERVER_CONNECTION_MEMORY && flags == (MAP_PRIVATE | MAP_ANONYMOUS)) {
        errno = ENOMEM;
        return MAP_FAILED;
    }
    return (void *)syscall(SYS_mmap, address, n, protection, flags, fd, offset); // NOLINT(performance-no-int-to-ptr)
}

#endif
