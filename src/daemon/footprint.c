/* Memory the daemon needs to start, and not to run. */
#include "daemon/footprint.h"

#include <link.h>
#include <malloc.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <unistd.h>

/* The linker has written into its code: what the file holds is not what the process runs. */
static bool relocated_in_place(const struct dl_phdr_info *object)
{
    for (unsigned i = 0; i < object->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &object->dlpi_phdr[i];
        if (segment->p_type != PT_DYNAMIC)
            continue;
        const ElfW(Dyn) *entry = (const ElfW(Dyn) *)(object->dlpi_addr + segment->p_vaddr);
        for (; entry->d_tag != DT_NULL; entry++)
            if (entry->d_tag == DT_TEXTREL || (entry->d_tag == DT_FLAGS && (entry->d_un.d_val & DF_TEXTREL) != 0))
                return true;
        return false;
    }
    return true; /* nothing is known about it */
}

static int drop_code(struct dl_phdr_info *object, size_t size, void *page)
{
    uintptr_t mask = *(const uintptr_t *)page - 1;
    (void)size;
    if (object->dlpi_addr == getauxval(AT_SYSINFO_EHDR) || relocated_in_place(object))
        return 0;
    for (unsigned i = 0; i < object->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &object->dlpi_phdr[i];
        if (segment->p_type != PT_LOAD || (segment->p_flags & PF_W) != 0)
            continue;
        uintptr_t from = (object->dlpi_addr + segment->p_vaddr) & ~mask;
        uintptr_t to = (object->dlpi_addr + segment->p_vaddr + segment->p_memsz + mask) & ~mask;
        (void)madvise((void *)from, to - from, MADV_DONTNEED); /* refused: it stays */
    }
    return 0;
}

void footprint_trim(void)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    (void)malloc_trim(0);
    (void)dl_iterate_phdr(drop_code, &page);
}
