/* The config file's syntax, read by libconfig and copied out of its hands. */
#include "config/loader.h"

#include "base/crypto.h"
#include "config/scan.h"

#include <libconfig.h>
#include <stdlib.h>

#define TEXT_OF(number)  #number
#define TEXT_OF2(number) TEXT_OF(number)

const char *loader_library_version(void)
{
    return TEXT_OF2(LIBCONFIG_VER_MAJOR) "." TEXT_OF2(LIBCONFIG_VER_MINOR) "." TEXT_OF2(LIBCONFIG_VER_REVISION);
}

static enum pp_result copy_setting(const config_setting_t *from, struct memory *memory, struct node *to);

/* Recursion ends at SCAN_DEPTH_MAX. */
static enum pp_result copy_children(const config_setting_t *from, struct memory *memory, struct node *to)
{
    int length = config_setting_length(from);

    to->count = length < 0 ? 0 : (size_t)length;
    to->children = memory_take(memory, to->count * sizeof *to->children);
    if (to->children == NULL)
        return PP_NOMEM;
    for (size_t i = 0; i < to->count; i++) {
        enum pp_result rc = copy_setting(config_setting_get_elem(from, (unsigned)i), memory, &to->children[i]);
        if (rc != PP_OK)
            return rc;
    }
    return PP_OK;
}

static enum pp_result copy_setting(const config_setting_t *from, struct memory *memory, struct node *to)
{
    const char *name = config_setting_name(from);

    to->line = (int)from->line; /* config_setting_source_line() would cut it to 16 bits */
    if (name != NULL) {
        to->name = memory_copy(memory, str_of(name));
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
        to->string = str_of(config_setting_get_string(from));
        to->string.p = memory_copy(memory, to->string);
        return to->string.p == NULL ? PP_NOMEM : PP_OK;
    case CONFIG_TYPE_ARRAY:
    case CONFIG_TYPE_LIST:
        to->kind = NODE_LIST;
        return copy_children(from, memory, to);
    case CONFIG_TYPE_GROUP:
        to->kind = NODE_GROUP;
        return copy_children(from, memory, to);
    default:
        to->kind = NODE_FLOAT;
        return PP_OK;
    }
}

/* libconfig frees its strings as they are; one of them may be a token. */
static void wipe_setting(const config_setting_t *setting)
{
    if (config_setting_type(setting) == CONFIG_TYPE_STRING && setting->value.sval != NULL)
        secret_wipe(setting->value.sval, strlen(setting->value.sval));
    if (!config_setting_is_aggregate(setting))
        return;
    for (int i = 0; i < config_setting_length(setting); i++)
        wipe_setting(config_setting_get_elem(setting, (unsigned)i));
}

/* The scan has found what is wrong with the syntax; a key given twice is the library's to find. */
static enum pp_result explain(const config_t *parsed, struct problem *problem)
{
    const char *text = config_error_text(parsed);

    if (text != NULL && strcmp(text, "duplicate setting name") == 0)
        return problem_set(problem, PP_INVALID, "a key is given a second time: keep one of the two");
    return problem_set(problem, PP_INVALID, "not understood here or just before: expected KEY = VALUE;");
}

enum pp_result loader_parse(struct str text, struct memory *memory, struct node *root, int *line,
                            struct problem *problem)
{
    config_t parsed;

    enum pp_result rc = scan_text(text, line, problem);
    if (rc != PP_OK)
        return rc;
    char *copy = memory_take(memory, text.n + 2);
    if (copy == NULL)
        return problem_set(problem, PP_NOMEM, "out of memory");
    if (text.n > 0)
        memcpy(copy, text.p, text.n);
    copy[text.n] = '\n'; /* without it libconfig 1.5 refuses a comment in the last line */
    config_init(&parsed);
    /* The scan refuses @include; should the library ever see one where the scan does not, it opens nothing. */
    config_set_include_dir(&parsed, "/dev/null");
    if (config_read_string(&parsed, copy) == CONFIG_TRUE) {
        rc = copy_setting(config_root_setting(&parsed), memory, root);
        if (rc != PP_OK)
            (void)problem_set(problem, rc, "out of memory");
    } else {
        *line = config_error_line(&parsed);
        rc = explain(&parsed, problem);
    }
    wipe_setting(config_root_setting(&parsed));
    config_destroy(&parsed);
    return rc;
}
