/* The config file's syntax, read by libconfig and copied out of its hands. */
#include "config/loader.h"

#include "base/ascii.h"
#include "config/scan.h"

#include <libconfig.h>
#include <stdio.h>

#define TEXT_OF(number)  #number
#define TEXT_OF2(number) TEXT_OF(number)

const char *loader_library_version(void)
{
    return TEXT_OF2(LIBCONFIG_VER_MAJOR) "." TEXT_OF2(LIBCONFIG_VER_MINOR) "." TEXT_OF2(LIBCONFIG_VER_REVISION);
}

/* libconfig frees its copies of the text without wiping them, and one of its strings may be a token. So it never gets
 * to see one: before it parses, each string of the text gives way to a mark that says where the string stands, each
 * comment to blanks; afterwards the marks are read as what stands there. Control characters, which the scan keeps out
 * of the text, bracket a mark. */
#define MARK_BEGIN   '\1'
#define MARK_END     '\2'
#define MARKED_LEAST 9u /* bytes of a string that is marked: room for the two and an offset below 10,000,000 */
#define MARK_MAX     32u

/* The string whose quotes stand at `start` and `end`; blanks make up the length. */
static void mark_string(char *text, size_t start, size_t end)
{
    char mark[MARK_MAX];
    int n = snprintf(mark, sizeof mark, "%c%zu%c\"", MARK_BEGIN, start, MARK_END);

    if (end - start - 1 < MARKED_LEAST || n < 0 || (size_t)n > end - start)
        return;
    memcpy(text + start + 1, mark, (size_t)n);
    memset(text + start + 1 + n, ' ', end - start - (size_t)n);
}

/* Blanks out a comment that begins at `at`; returns where it ends, or `at` if there is none. */
static size_t blank_comment(char *text, size_t n, size_t at)
{
    bool line = text[at] == '#' || (text[at] == '/' && text[at + 1] == '/');
    bool block = text[at] == '/' && text[at + 1] == '*';
    size_t end = at;

    if (line)
        while (end < n && text[end] != '\n')
            end++;
    if (block)
        for (end = at + 4; end < n && (text[end - 2] != '*' || text[end - 1] != '/');)
            end++;
    for (size_t i = at; i < end; i++)
        if (text[i] != '\n')
            text[i] = ' ';
    return end;
}

/* `text` has passed the scan, and two more bytes stand behind it. */
static void hide_strings(char *text, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        size_t end = blank_comment(text, n, i);
        if (end > i) {
            i = end - 1;
        } else if (text[i] == '"') {
            for (end = i + 1; end < n && text[end] != '"';)
                end += text[end] == '\\' ? 2 : 1;
            mark_string(text, i, end);
            i = end;
        }
    }
}

/* Decodes the string of the text whose opening quote is at `at`. Returns its length; writes to `out` unless NULL. */
static size_t decode_string(struct str text, size_t at, char *out)
{
    size_t length = 0;

    for (size_t i = at + 1; i < text.n && text.p[i] != '"'; i++) {
        char c = text.p[i];
        if (c == '\\' && text.p[i + 1] == 'x') {
            c = (char)(ascii_hex(text.p[i + 2]) * 16 + ascii_hex(text.p[i + 3]));
            i += 3;
        } else if (c == '\\') {
            c = text.p[++i];
        }
        if (out != NULL)
            out[length] = c;
        length++;
    }
    return length;
}

/* The same for what libconfig has made of a value: plain characters and marks. */
static size_t decode_marks(struct str text, struct str marked, char *out)
{
    size_t length = 0;

    for (size_t i = 0; i < marked.n; i++) {
        char *to = out == NULL ? NULL : out + length;
        size_t at = 0;
        if (marked.p[i] != MARK_BEGIN) {
            if (to != NULL)
                *to = marked.p[i];
            length++;
            continue;
        }
        for (i++; i < marked.n && marked.p[i] != MARK_END; i++)
            at = at * 10 + (size_t)(marked.p[i] - '0');
        length += decode_string(text, at, to);
    }
    return length;
}

/* What the copying of the tree needs throughout. */
struct source {
    struct str text; /* as it was before the strings were hidden */
    struct memory *memory;
};

static enum pp_result copy_string(const struct source *source, const char *marked, struct node *to)
{
    size_t n = decode_marks(source->text, str_of(marked), NULL);
    char *string = memory_take(source->memory, n + 1);

    if (string == NULL)
        return PP_NOMEM;
    (void)decode_marks(source->text, str_of(marked), string);
    to->string = (struct str){string, n};
    return PP_OK;
}

static enum pp_result copy_setting(const config_setting_t *from, const struct source *source, struct node *to);

/* Recursion ends at SCAN_DEPTH_MAX. */
static enum pp_result copy_children(const config_setting_t *from, const struct source *source, struct node *to)
{
    int length = config_setting_length(from);

    to->count = length < 0 ? 0 : (size_t)length;
    to->children = memory_take(source->memory, to->count * sizeof *to->children);
    if (to->children == NULL)
        return PP_NOMEM;
    for (size_t i = 0; i < to->count; i++) {
        enum pp_result rc = copy_setting(config_setting_get_elem(from, (unsigned)i), source, &to->children[i]);
        if (rc != PP_OK)
            return rc;
    }
    return PP_OK;
}

static enum pp_result copy_setting(const config_setting_t *from, const struct source *source, struct node *to)
{
    const char *name = config_setting_name(from);

    to->line = (int)from->line; /* config_setting_source_line() would cut it to 16 bits */
    if (name != NULL) {
        to->name = memory_copy(source->memory, str_of(name));
        if (to->name == NULL)
            return PP_NOMEM;
    }
    switch (config_setting_type(from)) {
    case CONFIG_TYPE_BOOL:
        to->kind = NODE_BOOLEAN;
        to->boolean = config_setting_get_bool(from) == CONFIG_TRUE;
        return PP_OK;
    case CONFIG_TYPE_INT:
    case CONFIG_TYPE_INT64:
        to->kind = NODE_INTEGER;
        to->integer = config_setting_get_int64(from);
        return PP_OK;
    case CONFIG_TYPE_STRING:
        to->kind = NODE_STRING;
        return copy_string(source, config_setting_get_string(from), to);
    case CONFIG_TYPE_ARRAY:
    case CONFIG_TYPE_LIST:
        to->kind = NODE_LIST;
        return copy_children(from, source, to);
    case CONFIG_TYPE_GROUP:
        to->kind = NODE_GROUP;
        return copy_children(from, source, to);
    default:
        to->kind = NODE_FLOAT;
        return PP_OK;
    }
}

/* The scan has found what is wrong with the syntax; a key given twice is the library's to find. */
static enum pp_result explain(const config_t *parsed, struct problem *problem)
{
    const char *text = config_error_text(parsed);

    if (text != NULL && strcmp(text, "duplicate setting name") == 0)
        return problem_set(problem, PP_INVALID, "a key is given a second time: keep one of the two");
    return problem_set(problem, PP_INVALID, "not understood here or just before: expected KEY = VALUE;");
}

enum pp_result loader_parse(struct str text, struct memory *memory, struct node *root, struct scan_place *place,
                            struct problem *problem)
{
    config_t parsed;

    enum pp_result rc = scan_text(text, place, problem);
    if (rc != PP_OK)
        return rc;
    char *copy = memory_take(memory, text.n + 2);
    if (copy == NULL)
        return problem_set(problem, PP_NOMEM, "out of memory");
    if (text.n > 0)
        memcpy(copy, text.p, text.n);
    copy[text.n] = '\n'; /* without it libconfig 1.5 refuses a comment in the last line */
    hide_strings(copy, text.n);
    config_init(&parsed);
    /* The scan refuses @include; should the library ever see one where the scan does not, it opens nothing. */
    config_set_include_dir(&parsed, "/dev/null");
    if (config_read_string(&parsed, copy) == CONFIG_TRUE) {
        const struct source source = {.text = text, .memory = memory};
        rc = copy_setting(config_root_setting(&parsed), &source, root);
        if (rc != PP_OK)
            (void)problem_set(problem, rc, "out of memory");
    } else {
        place->line = config_error_line(&parsed);
        (void)snprintf(place->key, sizeof place->key, "syntax");
        rc = explain(&parsed, problem);
    }
    config_destroy(&parsed);
    return rc;
}
