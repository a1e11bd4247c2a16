/* The effective config as text, as JSON, and as what differs between two. */
#include "config/options.h"

#include "base/json_text.h"
#include "base/str.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>

/* A string in libconfig's syntax. Values were read from there, so they hold no control characters. */
static void print_string(struct buf *out, struct str text)
{
    (void)buf_append_char(out, '"');
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] == '"' || text.p[i] == '\\')
            (void)buf_append_char(out, '\\');
        (void)buf_append_char(out, text.p[i]);
    }
    (void)buf_append_char(out, '"');
}

static void print_value(struct buf *out, const json_t *value)
{
    if (json_is_string(value)) {
        print_string(out, (struct str){json_string_value(value), json_string_length(value)});
    } else if (json_is_array(value)) {
        size_t count = json_array_size(value);
        (void)buf_append_str(out, count == 0 ? STR("[]") : STR("[ "));
        for (size_t i = 0; i < count; i++) {
            print_value(out, json_array_get(value, i));
            (void)buf_append_str(out, i + 1 < count ? STR(", ") : STR(" ]"));
        }
    } else if (json_is_boolean(value)) {
        (void)buf_append_str(out, json_is_true(value) ? STR("true") : STR("false"));
    } else {
        (void)buf_printf(out, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    }
}

/* "  key = value;" for each option of a scope. */
static enum pp_result print_scope(struct buf *out, enum option_scope scope, const void *base, const char *indent)
{
    for (size_t i = 0; i < option_count; i++) {
        if (options[i].scope != scope)
            continue;
        json_t *value = options[i].type->show(&options[i], option_const_field(&options[i], base));
        if (value == NULL)
            return PP_NOMEM;
        (void)buf_printf(out, "%s%s = ", indent, options[i].name);
        print_value(out, value);
        (void)buf_append_str(out, STR(";\n"));
        json_decref(value);
    }
    return PP_OK;
}

/* The groups within a scope, each with its options. */
static enum pp_result print_subgroups(struct buf *out, enum option_scope parent, const void *base, const char *indent,
                                      const char *inner)
{
    for (enum option_scope scope = 0; scope < SCOPE_COUNT; scope++) {
        if (option_groups[scope].parent != parent || option_groups[scope].name[0] == '\0')
            continue;
        (void)buf_printf(out, "%s%s = {\n", indent, option_groups[scope].name);
        enum pp_result rc = print_scope(out, scope, base, inner);
        if (rc != PP_OK)
            return rc;
        (void)buf_printf(out, "%s};\n", indent);
    }
    return PP_OK;
}

static enum pp_result print_environment(struct buf *out, const struct environment_config *environment)
{
    (void)buf_printf(out, "  %s = {\n", environment->name);
    enum pp_result rc = print_scope(out, SCOPE_ENVIRONMENT, environment, "    ");
    if (rc == PP_OK)
        rc = print_subgroups(out, SCOPE_ENVIRONMENT, environment, "    ", "      ");
    (void)buf_append_str(out, STR("  };\n"));
    return rc;
}

enum pp_result config_print(const struct config *c, struct buf *out)
{
    enum pp_result rc = print_scope(out, SCOPE_TOP, c, "");

    if (rc == PP_OK)
        rc = print_subgroups(out, SCOPE_TOP, c, "", "  ");
    (void)buf_append_str(out, STR("environments = {\n"));
    for (size_t i = 0; rc == PP_OK && i < c->environment_count; i++)
        rc = print_environment(out, &c->environments[i]);
    (void)buf_append_str(out, STR("};\n"));
    if (rc == PP_OK && out->failed)
        rc = PP_NOMEM;
    return rc;
}

/* Puts the options of a scope into `object`. */
static bool collect_scope(json_t *object, enum option_scope scope, const void *base)
{
    for (size_t i = 0; i < option_count; i++) {
        if (options[i].scope != scope)
            continue;
        json_t *value = options[i].type->show(&options[i], option_const_field(&options[i], base));
        if (value == NULL || json_object_set_new(object, options[i].name, value) != 0)
            return false;
    }
    return true;
}

/* The options of a scope and of the groups within it, as an object; NULL when out of memory. */
static json_t *collect(enum option_scope scope, const void *base)
{
    json_t *object = json_object();

    if (object == NULL || !collect_scope(object, scope, base))
        goto failed;
    for (enum option_scope inner = 0; inner < SCOPE_COUNT; inner++) {
        if (option_groups[inner].parent != scope || option_groups[inner].name[0] == '\0')
            continue;
        json_t *group = json_object();
        if (json_object_set_new(object, option_groups[inner].name, group) != 0 || !collect_scope(group, inner, base))
            goto failed;
    }
    return object;
failed:
    json_decref(object);
    return NULL;
}

enum pp_result config_print_json(const struct config *c, struct buf *out)
{
    json_t *root = collect(SCOPE_TOP, c), *environments = NULL;
    enum pp_result rc = PP_NOMEM;

    if (root == NULL)
        goto out;
    environments = json_object();
    if (json_object_set_new(root, "environments", environments) != 0)
        goto out;
    for (size_t i = 0; i < c->environment_count; i++)
        if (json_object_set_new(environments, c->environments[i].name,
                                collect(SCOPE_ENVIRONMENT, &c->environments[i])) != 0)
            goto out;
    if (json_text_dump(root, JSON_INDENT(2) | JSON_SORT_KEYS, out) == PP_OK && buf_append_char(out, '\n') == PP_OK)
        rc = PP_OK;
out:
    json_decref(root);
    return rc;
}

/* One line when the option differs. */
static enum pp_result diff_option(const struct option *option, const char *environment, const void *before,
                                  const void *after, struct buf *out)
{
    const void *old_field = option_const_field(option, before), *new_field = option_const_field(option, after);
    json_t *old_value = option->type->show(option, old_field), *new_value = option->type->show(option, new_field);
    enum pp_result rc = PP_NOMEM;
    char key[OPTION_KEY_SIZE];

    if (old_value == NULL || new_value == NULL)
        goto out;
    rc = PP_OK;
    bool shown_same = json_equal(old_value, new_value) == 1;
    if (shown_same && (option->type->same == NULL || option->type->same(old_field, new_field)))
        goto out;
    option_key(option, environment, key);
    (void)buf_printf(out, "%s: ", key);
    print_value(out, old_value);
    (void)buf_append_str(out, STR(" -> "));
    print_value(out, new_value);
    (void)buf_append_str(out, shown_same ? STR(" (what it stands for has changed)\n") : STR("\n"));
out:
    json_decref(old_value);
    json_decref(new_value);
    return rc;
}

static enum pp_result diff_options(bool global, const char *environment, const void *before, const void *after,
                                   struct buf *changed, struct buf *restart)
{
    enum pp_result rc = PP_OK;

    for (size_t i = 0; rc == PP_OK && i < option_count; i++)
        if (option_is_global(&options[i]) == global)
            rc = diff_option(&options[i], environment, before, after, options[i].restart ? restart : changed);
    return rc;
}

enum pp_result config_diff(const struct config *before, const struct config *after, struct buf *changed,
                           struct buf *restart)
{
    enum pp_result rc = diff_options(true, NULL, before, after, changed, restart);

    for (size_t i = 0; rc == PP_OK && i < before->environment_count; i++) {
        const struct environment_config *old = &before->environments[i], *new = config_environment(after, old->name);
        if (new == NULL)
            (void)buf_printf(changed, "environments.%s: removed\n", old->name);
        else
            rc = diff_options(false, old->name, old, new, changed, restart);
    }
    for (size_t i = 0; i < after->environment_count; i++)
        if (config_environment(before, after->environments[i].name) == NULL)
            (void)buf_printf(changed, "environments.%s: added\n", after->environments[i].name);
    if (rc == PP_OK && (changed->failed || restart->failed))
        rc = PP_NOMEM;
    return rc;
}
