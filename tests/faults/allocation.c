/* malloc, calloc and realloc that fail when told to; see allocation.h. */
#include "allocation.h"

#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Under a sanitizer its own ones must be asked; else the C library's. */
void *__interceptor_malloc(size_t n) __attribute__((weak));
void *__interceptor_calloc(size_t count, size_t n) __attribute__((weak));
void *__interceptor_realloc(void *old, size_t n) __attribute__((weak));
void __interceptor_free(void *block) __attribute__((weak));
extern void *__libc_malloc(size_t n);
extern void *__libc_calloc(size_t count, size_t n);
extern void *__libc_realloc(void *old, size_t n);
extern void __libc_free(void *block);

static struct allocation_control own;
struct allocation_control *allocation = &own;

/* Code whose allocations always succeed: what ends the process by itself when there is no memory, or is no part of the
 * daemon. libconfig 1.5 does not look at what malloc gave it. */
static const char *const spared_objects[] = {"libconfig.", "ld-linux", "libasan", "libubsan", "libtsan"};
static struct range {
    uintptr_t start, end;
} spared[16];
static size_t spared_count;
static struct range libc;

static struct allocation_frames own_frames, *blamed = &own_frames;

static int note_object(struct dl_phdr_info *info, size_t size, void *none)
{
    bool found = false;
    (void)size;
    (void)none;
    for (size_t i = 0; i < sizeof spared_objects / sizeof spared_objects[0]; i++)
        found = found || strstr(info->dlpi_name, spared_objects[i]) != NULL;
    for (unsigned i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &info->dlpi_phdr[i];
        struct range code = {info->dlpi_addr + part->p_vaddr, info->dlpi_addr + part->p_vaddr + part->p_memsz};
        if (part->p_type != PT_LOAD || (part->p_flags & PF_X) == 0)
            continue;
        if (found && spared_count < sizeof spared / sizeof spared[0])
            spared[spared_count++] = code;
        if (strstr(info->dlpi_name, "/libc.so") != NULL)
            libc = code;
    }
    return 0;
}

__attribute__((constructor)) static void prepare(void)
{
    const char *path = getenv("FAULTS_CONTROL");
    void *first[1];
    (void)dl_iterate_phdr(note_object, NULL);
    (void)backtrace(first, 1); /* loads what it needs now, not in the middle of an allocation */
    if (path == NULL)
        return;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    void *shared = mmap(NULL, sizeof *allocation, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (fd < 0 || shared == MAP_FAILED) {
        (void)dprintf(STDERR_FILENO, "%s: %s\n", path, strerror(errno));
        _exit(99);
    }
    (void)close(fd);
    atomic_store(&((struct allocation_control *)shared)->live, atomic_load(&own.live));
    allocation = shared;
}

static bool is_spared(const void *caller)
{
    uintptr_t at = (uintptr_t)caller;
    for (size_t i = 0; i < spared_count; i++)
        if (at >= spared[i].start && at < spared[i].end)
            return true;
    return false;
}

static bool refuses(void *caller)
{
    static _Thread_local bool inside;
    if (atomic_load_explicit(&allocation->armed, memory_order_relaxed) == 0 || inside || is_spared(caller))
        return false;
    uintptr_t at = (uintptr_t)caller;
    if (at >= libc.start && at < libc.end) { /* strdup and the like: on whose behalf? */
        void *callers[8];
        inside = true;
        int count = backtrace(callers, 8);
        inside = false;
        for (int i = 2; i < count; i++)
            if (is_spared(callers[i]))
                return false;
    }
    uint64_t number = atomic_fetch_add(&allocation->asked, 1) + 1;
    uint64_t fail_at = atomic_load(&allocation->fail_at);
    if (fail_at == 0 || number < fail_at || (number > fail_at && atomic_load(&allocation->all_after) == 0))
        return false;
    inside = true;
    if (atomic_fetch_add(&allocation->refused, 1) == 0)
        blamed->count = backtrace(blamed->at, ALLOCATION_FRAMES);
    inside = false;
    errno = ENOMEM;
    return true;
}

static void *counted(void *block)
{
    if (block != NULL)
        atomic_fetch_add_explicit(&allocation->live, 1, memory_order_relaxed);
    return block;
}

void *malloc(size_t n)
{
    if (refuses(__builtin_return_address(0)))
        return NULL;
    return counted(__interceptor_malloc != NULL ? __interceptor_malloc(n) : __libc_malloc(n));
}

void *calloc(size_t count, size_t n)
{
    if (refuses(__builtin_return_address(0)))
        return NULL;
    return counted(__interceptor_calloc != NULL ? __interceptor_calloc(count, n) : __libc_calloc(count, n));
}

void *realloc(void *old, size_t n)
{
    if (n != 0 && refuses(__builtin_return_address(0)))
        return NULL;
    void *block = __interceptor_realloc != NULL ? __interceptor_realloc(old, n) : __libc_realloc(old, n);
    if (old == NULL)
        return counted(block);
    if (n == 0) /* it was a free */
        atomic_fetch_sub_explicit(&allocation->live, 1, memory_order_relaxed);
    return block;
}

void free(void *block)
{
    if (block == NULL)
        return;
    atomic_fetch_sub_explicit(&allocation->live, 1, memory_order_relaxed);
    if (__interceptor_free != NULL)
        __interceptor_free(block);
    else
        __libc_free(block);
}

void allocation_refuse(uint64_t nth, bool all_after)
{
    atomic_store(&allocation->asked, 0);
    atomic_store(&allocation->refused, 0);
    atomic_store(&allocation->fail_at, nth);
    atomic_store(&allocation->all_after, all_after);
    atomic_store(&allocation->armed, 1);
}

uint64_t allocation_allow(void)
{
    atomic_store(&allocation->armed, 0);
    return atomic_load(&allocation->refused);
}

bool allocation_sanitized(void)
{
    return __interceptor_malloc != NULL;
}

int64_t allocation_live(void)
{
    /* A sanitizer's strdup goes past malloc here, and its own search for leaks at the end is better. */
    return __interceptor_malloc != NULL ? 0 : atomic_load(&allocation->live);
}

/* What the dynamic loader keeps of a library that was loaded in the meantime. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:_dl_map_object_deps\n";
}

void allocation_keep_frames(struct allocation_frames *frames)
{
    blamed = frames;
}

void allocation_blame(const struct allocation_frames *frames)
{
    if (frames->count > 0)
        backtrace_symbols_fd(frames->at, frames->count, STDERR_FILENO);
}
