/* Nearest known name by optimal string alignment distance. */
#include "base/suggest.h"

#include "base/ascii.h"

#include <stdint.h>
#include <string.h>

#define NAME_MAX_LENGTH 63u

static char folded(char c)
{
    return c == '-' ? '_' : ascii_lower(c);
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

size_t suggest_distance(const char *a, const char *b)
{
    size_t rows[3][NAME_MAX_LENGTH + 1]; /* the row before last, the last, the current */
    size_t a_length = strlen(a), b_length = strlen(b);

    if (a_length > NAME_MAX_LENGTH || b_length > NAME_MAX_LENGTH)
        return SIZE_MAX;
    size_t *before = rows[0], *last = rows[1], *row = rows[2];
    for (size_t j = 0; j <= b_length; j++)
        last[j] = before[j] = j;
    for (size_t i = 1; i <= a_length; i++) {
        row[0] = i;
        for (size_t j = 1; j <= b_length; j++) {
            size_t change = folded(a[i - 1]) == folded(b[j - 1]) ? 0 : 1;
            row[j] = least(least(last[j] + 1, row[j - 1] + 1), last[j - 1] + change);
            if (i > 1 && j > 1 && folded(a[i - 1]) == folded(b[j - 2]) && folded(a[i - 2]) == folded(b[j - 1]))
                row[j] = least(row[j], before[j - 2] + 1);
        }
        size_t *oldest = before;
        before = last;
        last = row;
        row = oldest;
    }
    return last[b_length];
}

void suggest_offer(struct suggestion *best, const char *given, const char *known)
{
    size_t allowed = strlen(given) / 3;
    if (allowed < 1)
        allowed = 1;
    if (allowed > 3)
        allowed = 3;
    size_t distance = suggest_distance(given, known);
    if (distance > allowed || (best->name != NULL && distance >= best->distance))
        return;
    best->name = known;
    best->distance = distance;
}
