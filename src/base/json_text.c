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
            json_text_append(&lines, json_text((struct str){line, n}));
        line += n + (line[n] == '\n');
    }
    return lines;
}

void json_text_append(json_t **array, json_t *item)
{
    if (*array == NULL) {
        json_decref(item);
    } else if (json_array_append_new(*array, item) != 0) {
        json_decref(*array);
        *array = NULL;
    }
}

struct dump {
    struct buf *out;
    enum pp_result rc; /* the first failure: what follows it only says that the buffer has failed */
};

static int append_piece(const char *piece, size_t n, void *dump)
{
    struct dump *d = dump;
    if (d->rc == PP_OK)
        d->rc = buf_append(d->out, piece, n);
    return d->rc == PP_OK ? 0 : -1;
}

enum pp_result json_text_dump(const json_t *value, size_t flags, struct buf *out)
{
    struct dump dump = {out, PP_OK};
    size_t before = buf_len(out);
    if (value == NULL || json_dump_callback(value, append_piece, &dump, flags) != 0 || dump.rc != PP_OK) {
        out->end = out->start + before;
        out->failed = true;
        return dump.rc != PP_OK ? dump.rc : PP_NOMEM;
    }
    return PP_OK;
}
