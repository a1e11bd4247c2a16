/* Texts of any origin as JSON strings: what is not UTF-8 is made harmless instead of spoiling the document. Cold paths
 * only. */
#ifndef PP_BASE_JSON_TEXT_H
#define PP_BASE_JSON_TEXT_H

#include "base/str.h"

#include <jansson.h>

/* A JSON string, each byte that is not UTF-8 replaced by '?' when the text as a whole is none. NULL when out of memory.
 */
json_t *json_text(struct str text);
/* The same, null for NULL or "". */
json_t *json_text_or_null(const char *text);
/* An array of the lines of a text, without newlines; empty ones are left out. NULL: an empty array. */
json_t *json_text_lines(const char *text);

#endif
