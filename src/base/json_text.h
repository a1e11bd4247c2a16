/* Texts of any origin as JSON strings: what is not UTF-8 is made harmless instead of spoiling the document. Cold paths
 * only. */
#ifndef PP_BASE_JSON_TEXT_H
#define PP_BASE_JSON_TEXT_H

#include "base/buf.h"

#include <jansson.h>

/* A JSON string, each byte that is not UTF-8 replaced by '?' when the text as a whole is none. NULL when out of memory.
 */
json_t *json_text(struct str text);
/* The same, null for NULL or "". */
json_t *json_text_or_null(const char *text);
/* An array of the lines of a text, without newlines; empty ones are left out. For NULL an empty array. NULL when out of
 * memory. */
json_t *json_text_lines(const char *text);

/* Appends, and takes the item's reference. An array that lacks an item would be a lie: where the item is NULL, or there
 * is no memory, the array is let go and *array becomes NULL. Nothing happens to one that is NULL already. */
void json_text_append(json_t **array, json_t *item);

/* Appends the value as text, whole or not at all: PP_NOMEM or PP_LIMIT leave `out` as it was, but failed. (json_dumps
 * does not look at every failure of its own, and may leave out a key.) `flags` are jansson's. */
enum pp_result json_text_dump(const json_t *value, size_t flags, struct buf *out) PP_MUST_CHECK;

#endif
