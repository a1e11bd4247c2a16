/* Fills the config from a parsed file and the table of keys. */
#include "config/build.h"

#include "base/suggest.h"
#include "config/loader.h"
#include "config/value.h"

#include <stdio.h>

#define STANDARDS_MAX (16u * 1024) /* bytes of one scope's defaults, as text */

/* The group being read. */
struct place {
    enum option_scope scope;
    const struct node *group; /* NULL: not in the file */
    void *base;               /* the struct its options set */
    const char *environment;  /* name, or NULL */
    int line;                 /* for what is missing */
    struct option_lines *lines;
};

/* Lines of defaults are none of the file's. */
static void forget_lines(struct node *node)
{
    node->line = 0;
    for (size_t i = 0; i < node->count; i++)
        forget_lines(&node->children[i]);
}

/* Defaults are text in the file's own syntax and go through the same readers as what the file says. */
static enum pp_result parse_standards(struct config_build *build, enum option_scope scope)
{
    struct problem problem;
    struct buf text;
    struct scan_place place;

    buf_init(&text, STANDARDS_MAX);
    for (size_t i = 0; i < option_count; i++)
        if (options[i].scope == scope && options[i].standard != NULL)
            (void)buf_printf(&text, "%s = %s;\n", options[i].name, options[i].standard);
    enum pp_result rc = text.failed
                            ? PP_NOMEM
                            : loader_parse(buf_str(&text), &build->scratch, &build->standards[scope], &place, &problem);
    if (rc == PP_OK)
        forget_lines(&build->standards[scope]);
    buf_free(&text);
    return rc;
}

static const char *kind_name(enum node_kind kind)
{
    switch (kind) {
    case NODE_BOOLEAN:
        return "a boolean";
    case NODE_INTEGER:
        return "an integer";
    case NODE_FLOAT:
        return "a fraction";
    case NODE_STRING:
        return "a string";
    case NODE_LIST:
        return "a list";
    case NODE_GROUP:
        return "a group";
    }
    return "something else";
}

static void read_option(struct config_build *build, const struct place *place, const struct option *option)
{
    char key[OPTION_KEY_SIZE];
    const struct node *value = place->group == NULL ? NULL : node_member(place->group, option->name);

    option_key(option, place->environment, key);
    if (value != NULL)
        place->lines->line[option - options] = value->line;
    else
        value = node_member(&build->standards[option->scope], option->name);
    if (value == NULL) {
        report_add(&build->report, place->line, key, "missing: expected %s", option->type->expects);
        return;
    }
    if ((option->type->kinds & value->kind) == 0) {
        report_add(&build->report, value->line, key, "expected %s, found %s", option->type->expects,
                   kind_name(value->kind));
        return;
    }
    struct option_reader reader = {.memory = build->memory, .report = &build->report, .key = key};
    option->type->read(&reader, option, value, option_field(option, place->base));
}

/* The name of the scope's group, for people. */
static const char *scope_name(enum option_scope scope)
{
    if (scope == SCOPE_TOP)
        return "the top level";
    return scope == SCOPE_ENVIRONMENT ? "an environment" : option_groups[scope].name;
}

static bool is_subgroup(enum option_scope scope, enum option_scope parent)
{
    return option_groups[scope].parent == parent && option_groups[scope].name[0] != '\0';
}

/* Where a key of that name belongs: "admin or an environment". False: nowhere. */
static bool name_places(const char *name, char *out, size_t size)
{
    size_t used = 0;

    for (size_t i = 0; i < option_count && used < size; i++)
        if (strcmp(options[i].name, name) == 0)
            used += (size_t)snprintf(out + used, size - used, "%s%s", used == 0 ? "" : " or ",
                                     scope_name(options[i].scope));
    return used > 0;
}

/* A name that no option or group of this place has. */
static void report_unknown(struct config_build *build, const struct place *place, const struct node *node)
{
    char key[OPTION_KEY_SIZE];
    struct suggestion near = {0};

    option_scope_key(place->scope, place->environment, node->name, key);
    for (size_t i = 0; i < option_count; i++)
        if (options[i].scope == place->scope)
            suggest_offer(&near, node->name, options[i].name);
    for (enum option_scope scope = 0; scope < SCOPE_COUNT; scope++)
        if (is_subgroup(scope, place->scope))
            suggest_offer(&near, node->name, option_groups[scope].name);
    if (place->scope == SCOPE_TOP)
        suggest_offer(&near, node->name, "environments");
    if (near.name != NULL) {
        report_add(&build->report, node->line, key, "unknown key; did you mean %s?", near.name);
        return;
    }
    char places[64];
    if (name_places(node->name, places, sizeof places)) {
        report_add(&build->report, node->line, key, "this key does not belong here but into %s", places);
        return;
    }
    report_add(&build->report, node->line, key, "unknown key; proofproxy.conf(5) lists all of them");
}

static bool is_known(const struct place *place, const char *name)
{
    if (option_find(place->scope, name) != NULL)
        return true;
    for (enum option_scope scope = 0; scope < SCOPE_COUNT; scope++)
        if (is_subgroup(scope, place->scope) && strcmp(option_groups[scope].name, name) == 0)
            return true;
    return place->scope == SCOPE_TOP && strcmp(name, "environments") == 0;
}

/* All options and unknown keys of one group. */
static void read_place(struct config_build *build, const struct place *place)
{
    for (size_t i = 0; i < option_count; i++)
        if (options[i].scope == place->scope)
            read_option(build, place, &options[i]);
    for (size_t i = 0; place->group != NULL && i < place->group->count; i++)
        if (!is_known(place, place->group->children[i].name))
            report_unknown(build, place, &place->group->children[i]);
}

/* A group and the groups within it. */
static void read_group(struct config_build *build, const struct place *place)
{
    char key[OPTION_KEY_SIZE];

    read_place(build, place);
    for (enum option_scope scope = 0; scope < SCOPE_COUNT; scope++) {
        if (!is_subgroup(scope, place->scope))
            continue;
        const char *name = option_groups[scope].name;
        struct place inner = *place;
        inner.scope = scope;
        inner.group = place->group == NULL ? NULL : node_member(place->group, name);
        if (inner.group != NULL)
            inner.line = inner.group->line;
        if (inner.group != NULL && inner.group->kind != NODE_GROUP) {
            option_scope_key(place->scope, place->environment, name, key);
            report_add(&build->report, inner.line, key, "expected a group, %s = { ... };, found %s", name,
                       kind_name(inner.group->kind));
            inner.group = NULL;
        }
        read_place(build, &inner);
    }
}

static void read_environment(struct config_build *build, const struct node *node,
                             struct environment_config *environment, struct option_lines *lines)
{
    char key[OPTION_KEY_SIZE];
    const char *phrase = value_environment_fault(str_of(node->name));

    (void)snprintf(key, sizeof key, "environments.%s", node->name);
    if (phrase != NULL)
        report_add(&build->report, node->line, key, "%s", phrase);
    environment->name = memory_copy(build->memory, str_of(node->name));
    environment->line = node->line;
    if (environment->name == NULL) {
        build->report.out_of_memory = true;
        return;
    }
    if (node->kind != NODE_GROUP) {
        report_add(&build->report, node->line, key, "expected a group, %s = { ... };, found %s", node->name,
                   kind_name(node->kind));
        return;
    }
    struct place place = {.scope = SCOPE_ENVIRONMENT,
                          .group = node,
                          .base = environment,
                          .environment = node->name,
                          .line = node->line,
                          .lines = lines};
    read_group(build, &place);
}

static void read_environments(struct config_build *build, const struct node *root)
{
    static const char key[] = "environments";
    const struct node *group = node_member(root, key);
    struct config *config = build->config;

    if (group == NULL || group->kind != NODE_GROUP || group->count == 0) {
        report_add(&build->report, group == NULL ? 1 : group->line, key,
                   "%s: expected environments = { NAME = { base_url = ...; listen = ...; token_file = ...; }; };",
                   group == NULL ? "missing" : "no environment is defined");
        return;
    }
    if (group->count > LIMIT_ENVIRONMENTS) {
        report_add(&build->report, group->line, key, "%zu environments: expected at most %u", group->count,
                   LIMIT_ENVIRONMENTS);
        return;
    }
    config->environments = memory_take(build->memory, group->count * sizeof *config->environments);
    if (config->environments == NULL) {
        build->report.out_of_memory = true;
        return;
    }
    for (size_t i = 0; i < group->count; i++)
        read_environment(build, &group->children[i], &config->environments[config->environment_count++],
                         &build->environments[i]);
}

enum pp_result build_config(struct config_build *build, const struct node *root)
{
    for (enum option_scope scope = 0; scope < SCOPE_COUNT; scope++) {
        enum pp_result rc = parse_standards(build, scope);
        if (rc != PP_OK)
            return rc;
    }
    struct place top = {.scope = SCOPE_TOP, .group = root, .base = build->config, .line = 1, .lines = &build->global};
    read_group(build, &top);
    read_environments(build, root);
    return PP_OK;
}

int build_line(const struct config_build *build, const struct environment_config *environment, enum option_scope scope,
               const char *name)
{
    const struct option *option = option_find(scope, name);
    ptrdiff_t index = option == NULL ? 0 : option - options;

    if (environment == NULL)
        return build->global.line[index];
    int line = build->environments[environment - build->config->environments].line[index];
    return line != 0 ? line : environment->line;
}
