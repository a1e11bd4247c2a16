/* epoll_ctl(2) for the whole process, libraries included: a descriptor that is to be forgotten is forgotten.
 *
 * libmicrohttpd 0.9.75 ends the process when EPOLL_CTL_DEL fails, and a descriptor that stays in a set although its
 * watch is gone would be told to memory that was freed. The kernel has no reason to refuse; should it ever, once is no
 * reason to end. The linker prefers this definition to the C library's because libmicrohttpd refers to it. */
#include <errno.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <unistd.h>

#define DEL_TRIES 4

/* Under ThreadSanitizer its own, which knows what the call orders between threads, stays in place. */
#if defined(__SANITIZE_THREAD__)
#define ANOTHER_IN_PLACE
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define ANOTHER_IN_PLACE
#endif
#endif

#ifndef ANOTHER_IN_PLACE

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
