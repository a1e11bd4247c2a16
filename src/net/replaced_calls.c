/* Three calls libmicrohttpd makes of the C library, answered otherwise, for the whole process.
 *
 * The linker prefers these definitions to the C library's because libmicrohttpd refers to them.
 *
 * epoll_ctl(2): a descriptor that is to be forgotten is forgotten. libmicrohttpd 0.9.75 ends the process when
 * EPOLL_CTL_DEL fails, and a descriptor that stays in a set although its watch is gone would be told to memory that was
 * freed. The kernel has no reason to refuse; should it ever, once is no reason to end.
 *
 * mmap(2) and munmap(2): the mapping libmicrohttpd makes for each connection is a slot of ours (server_slots.c says
 * why). It is known by its size, which nothing else maps. When no slot can be had it fails, and libmicrohttpd asks
 * malloc. */
#include "net/server_private.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define DEL_TRIES 4

/* Sanitizers keep theirs: ThreadSanitizer knows what epoll_ctl orders between threads, both follow memory by mmap. */
#if defined(__SANITIZE_THREAD__)
#define EPOLL_CTL_LEFT_ALONE
#define MMAP_LEFT_ALONE
#elif defined(__SANITIZE_ADDRESS__)
#define MMAP_LEFT_ALONE
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define EPOLL_CTL_LEFT_ALONE
#define MMAP_LEFT_ALONE
#elif __has_feature(address_sanitizer) || __has_feature(memory_sanitizer)
#define MMAP_LEFT_ALONE
#endif
#endif

#ifndef EPOLL_CTL_LEFT_ALONE

int epoll_ctl(int epoll_fd, int operation, int fd, struct epoll_event *event)
{
    long rc = -1;
    for (int i = 0; i < DEL_TRIES; i++) {
        rc = syscall(SYS_epoll_ctl, epoll_fd, operation, fd, event);
        /* These say that it is not there; the others only that it could not be done now. */
        if (rc == 0 || operation != EPOLL_CTL_DEL || errno == ENOENT || errno == EBADF)
            break;
    }
    return (int)rc;
}

#endif

#if !defined(MMAP_LEFT_ALONE) && defined(__LP64__) /* elsewhere the call differs */

void *mmap(void *address, size_t n, int protection, int flags, int fd, off_t offset)
{
    if (address == NULL && n == SERVER_CONNECTION_MEMORY && flags == (MAP_PRIVATE | MAP_ANONYMOUS)) {
        void *slot = slot_take();
        if (slot != NULL)
            return slot;
        errno = ENOMEM;
        return MAP_FAILED;
    }
    return (void *)syscall(SYS_mmap, address, n, protection, flags, fd, offset); // NOLINT(performance-no-int-to-ptr)
}

int munmap(void *address, size_t n)
{
    if (n == SERVER_CONNECTION_MEMORY && slot_give(address))
        return 0;
    return (int)syscall(SYS_munmap, address, n);
}

#endif
