/* process_* from getrusage(2), getrlimit(2) and /proc/self. */
#include "daemon/process_metrics.h"

#include "base/metrics_text.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

/* -1 when /proc is not there. */
static int64_t open_descriptors(void)
{
    int64_t n = 0;
    DIR *dir = opendir("/proc/self/fd");
    if (dir == NULL)
        return -1;
    for (const struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir))
        n += entry->d_name[0] != '.';
    (void)closedir(dir);
    return n - 1; /* the directory's own */
}

/* The first two numbers of /proc/self/statm (proc(5)): pages of the address space, pages in memory. */
static void memory(struct buf *out)
{
    char text[128], *end;
    FILE *f = fopen("/proc/self/statm", "re");
    if (f == NULL)
        return;
    size_t n = fread(text, 1, sizeof text - 1, f);
    (void)fclose(f);
    text[n] = '\0';
    double page = (double)sysconf(_SC_PAGESIZE);
    unsigned long long virtual_pages = strtoull(text, &end, 10);
    if (end == text)
        return;
    const char *rest = end;
    unsigned long long resident_pages = strtoull(rest, &end, 10);
    if (end == rest)
        return;
    metrics_text_gauge(out, "process_virtual_memory_bytes", "Virtual memory size in bytes.",
                       (double)virtual_pages * page);
    metrics_text_gauge(out, "process_resident_memory_bytes", "Resident memory size in bytes.",
                       (double)resident_pages * page);
}

static double seconds(const struct timeval *t)
{
    return (double)t->tv_sec + (double)t->tv_usec / 1e6;
}

void process_metrics_write(struct buf *out, int64_t started)
{
    struct rusage usage;
    struct rlimit files;
    int64_t descriptors = open_descriptors();
    if (getrusage(RUSAGE_SELF, &usage) == 0) {
        metrics_text_family(out, "process_cpu_seconds_total", "counter",
                            "Total user and system CPU time spent in seconds.");
        metrics_text_sample(out, "process_cpu_seconds_total", NULL, 0,
                            seconds(&usage.ru_utime) + seconds(&usage.ru_stime));
    }
    if (descriptors >= 0)
        metrics_text_gauge(out, "process_open_fds", "Number of open file descriptors.", (double)descriptors);
    if (getrlimit(RLIMIT_NOFILE, &files) == 0)
        metrics_text_gauge(out, "process_max_fds", "Maximum number of open file descriptors.", (double)files.rlim_cur);
    memory(out);
    metrics_text_gauge(out, "process_start_time_seconds", "Start time of the process since unix epoch in seconds.",
                       (double)started / 1e3);
}
