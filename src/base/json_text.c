/* Texts as JSON strings. */
#include "base/json_text.h"

#include <stdlib.h>

json_t *json_text(struct str text)
{
    json_t *whole = json_stringn(text.n == 0 ? "" : text.p, text.n);
    if (whole != NULL)
        return whole;
    char *copy = malloc(text.n + 1);
    if (copy == NULL)
        return NULL;
    for (size_t i = 0; i < text.n; i++)
        copy[i] = (unsigned char)text.p[i] < 0x80 ? text.p[i] : '?';
    whole = json_stringn(copy, text.n);
    free(copy);
    return whole;
}

json_t *json_text_or_null(const char *text)
{
    return text == NULL || text[0] == '\0' ? json_null() : json_text(str_of(text));
}

json_t *json_text_lines(const char *text)
{
    json_t *lines = json_array();
    for (const char *line = text; line != NULL && *line != '\0';) {
        size_t n = strcspn(line, "\n");
        if (n > 0)
            (void)json_array_append_new(lines, json_text((struct str){line, n}));
        line += n + (line[n] == '\n');
    }
    return lines;
}
