/* Collecting and ordering of faults. */
#include "config/report.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define PROBLEM_TEXT_MAX ((size_t)LIMIT_CONFIG_PROBLEMS * 8192)

struct report_entry {
    struct report_entry *older;
    int line;
    size_t number;
    const char *key;
    struct problem problem;
};

void config_problems_init(struct config_problems *problems)
{
    buf_init(&problems->text, PROBLEM_TEXT_MAX);
    problems->count = 0;
}

void config_problems_free(struct config_problems *problems)
{
    buf_free(&problems->text);
    problems->count = 0;
}

void config_problems_add(struct config_problems *problems, const char *file, int line, const char *key,
                         const char *format, ...)
{
    struct problem problem;
    va_list args;

    va_start(args, format);
    (void)vsnprintf(problem.text, sizeof problem.text, format, args);
    va_end(args);
    problems->count++;
    /* Without memory the line is missing from the text; the count still says that there was one. */
    (void)buf_printf(&problems->text, "%s:%d: %s%s%s\n", file, line, key, key[0] == '\0' ? "" : ": ", problem.text);
}

void report_add(struct report *r, int line, const char *key, const char *format, ...)
{
    struct report_entry *entry = memory_take(r->memory, sizeof *entry);
    char *key_copy = memory_copy(r->memory, str_of(key));
    va_list args;

    r->count++;
    if (entry == NULL || key_copy == NULL) {
        r->out_of_memory = true;
        return;
    }
    va_start(args, format);
    (void)vsnprintf(entry->problem.text, sizeof entry->problem.text, format, args);
    va_end(args);
    entry->line = line;
    entry->key = key_copy;
    entry->number = r->count;
    entry->older = r->newest;
    r->newest = entry;
}

static int by_line(const void *a, const void *b)
{
    const struct report_entry *x = *(const struct report_entry *const *)a;
    const struct report_entry *y = *(const struct report_entry *const *)b;

    if (x->line != y->line)
        return x->line < y->line ? -1 : 1;
    return x->number < y->number ? -1 : 1;
}

void report_tell(const struct report *r, struct config_problems *problems)
{
    size_t count = 0, told = 0;

    for (const struct report_entry *e = r->newest; e != NULL; e = e->older)
        count++;
    if (count == 0 && !r->out_of_memory)
        return;
    const struct report_entry **entries = memory_take(r->memory, count * sizeof(struct report_entry *));
    if (entries == NULL || r->out_of_memory)
        config_problems_add(problems, r->file, 0, "", "out of memory");
    if (entries == NULL)
        return;
    size_t i = 0;
    for (const struct report_entry *e = r->newest; e != NULL; e = e->older)
        entries[i++] = e;
    qsort(entries, count, sizeof(struct report_entry *), by_line);
    for (; told < count && told < LIMIT_CONFIG_PROBLEMS; told++)
        config_problems_add(problems, r->file, entries[told]->line, entries[told]->key, "%s",
                            entries[told]->problem.text);
    if (told < count)
        config_problems_add(problems, r->file, entries[told]->line, "", "%zu more problems are not shown",
                            count - told);
}
