/* Preloaded into the daemon: a wall clock that jumps. CLOCK_REALTIME, time(2) and gettimeofday(2) are off by the
 * seconds that stand in the file named by CLOCK_OFFSET, as text, from one call to the next; the monotonic clock is the
 * true one. */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define FILE_SIZE 32

static const char *offset_text = "0";

__attribute__((constructor)) static void prepare(void)
{
    const char *path = getenv("CLOCK_OFFSET");
    int fd = path == NULL ? -1 : open(path, O_RDONLY | O_CLOEXEC);
    void *shared = mmap(NULL, FILE_SIZE, PROT_READ, MAP_SHARED, fd, 0);
    if (shared == MAP_FAILED)
        _exit(99);
    (void)close(fd);
    offset_text = shared;
}

int clock_gettime(clockid_t id, struct timespec *t)
{
    int rc = (int)syscall(SYS_clock_gettime, id, t);
    if (rc == 0 && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE))
        t->tv_sec += strtol(offset_text, NULL, 10);
    return rc;
}

int gettimeofday(struct timeval *restrict t, void *restrict zone)
{
    struct timespec now;
    (void)zone;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    *t = (struct timeval){now.tv_sec, now.tv_nsec / 1000};
    return 0;
}

time_t time(time_t *out)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    if (out != NULL)
        *out = now.tv_sec;
    return now.tv_sec;
}
