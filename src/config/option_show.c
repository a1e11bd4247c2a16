/* From the fields of the config back to what stands in the file, without secrets. */
#include "config/option_types.h"

#include "base/crypto.h"
#include "config/address.h"
#include "config/value.h"

#include <jansson.h>
#include <stdio.h>

unsigned choice_value(const struct option *option, const void *field)
{
    unsigned value = 0;

    if (option->size == sizeof(bool)) {
        bool flag;
        memcpy(&flag, field, sizeof flag);
        return flag;
    }
    memcpy(&value, field, sizeof value);
    return value;
}

json_t *show_boolean(const struct option *option, const void *field)
{
    const bool *value = field;
    (void)option;
    return json_boolean(*value);
}

json_t *show_number(const struct option *option, const void *field)
{
    const unsigned *value = field;
    (void)option;
    return json_integer(*value);
}

json_t *show_size(const struct option *option, const void *field)
{
    const int64_t *value = field;
    char text[VALUE_NUMBER_SIZE];

    (void)option;
    value_print_size(*value, text);
    return json_string(text);
}

json_t *show_duration(const struct option *option, const void *field)
{
    const msec *value = field;
    char text[VALUE_NUMBER_SIZE];

    (void)option;
    value_print_duration(*value, text);
    return json_string(text);
}

json_t *show_choice_number(const struct option *option, const void *field)
{
    unsigned value = choice_value(option, field);

    for (const struct option_choice *c = option->choices; c->text != NULL; c++)
        if (c->value == value)
            return json_string(c->text);
    return NULL;
}

/* Appends and gives up `item`; on failure gives up the list as well and returns NULL. */
static json_t *append(json_t *list, json_t *item)
{
    if (list != NULL && json_array_append_new(list, item) == 0)
        return list;
    json_decref(list);
    return NULL;
}

json_t *show_choice_set(const struct option *option, const void *field)
{
    const unsigned *value = field;
    json_t *list = json_array();

    for (const struct option_choice *c = option->choices; list != NULL && c->text != NULL; c++)
        if ((*value & c->value) != 0)
            list = append(list, json_string(c->text));
    return list;
}

json_t *show_text(const struct option *option, const void *field)
{
    const char *const *value = field;
    (void)option;
    return json_string(*value);
}

json_t *show_proxy(const struct option *option, const void *field)
{
    const char *const *value = field;
    struct memory memory = {0};
    const char *masked = address_proxy_masked(&memory, *value);

    (void)option;
    json_t *shown = masked == NULL ? NULL : json_string(masked);
    memory_release(&memory);
    return shown;
}

bool same_proxy(const void *field, const void *other_field)
{
    const char *const *a = field, *const *b = other_field;
    return strcmp(*a, *b) == 0;
}

json_t *show_list(const struct option *option, const void *field)
{
    const struct str_list *value = field;
    json_t *list = json_array();

    (void)option;
    for (size_t i = 0; list != NULL && i < value->count; i++)
        list = append(list, json_stringn(value->items[i].p, value->items[i].n));
    return list;
}

json_t *show_listeners(const struct option *option, const void *field)
{
    const struct listen_list *value = field;
    json_t *list = json_array();

    (void)option;
    for (size_t i = 0; list != NULL && i < value->count; i++)
        list = append(list, json_string(value->items[i].text));
    return list;
}

json_t *show_base_url(const struct option *option, const void *field)
{
    const struct base_url *value = field;
    (void)option;
    return json_string(value->text);
}

json_t *show_token_file(const struct option *option, const void *field)
{
    const struct environment_config *environment = field;
    (void)option;
    return json_string(environment->token_file);
}

/* credential:NAME may stand for another file after $CREDENTIALS_DIRECTORY changed. */
bool same_token_path(const void *field, const void *other_field)
{
    const struct environment_config *a = field, *b = other_field;

    if (a->token_path == NULL || b->token_path == NULL)
        return a->token_path == b->token_path;
    return strcmp(a->token_path, b->token_path) == 0;
}

json_t *show_secret(const struct option *option, const void *field)
{
    const char *const *value = field;
    unsigned char digest[32];
    char text[sizeof SECRET_SHOWN_PREFIX + 12];

    (void)option;
    if (*value == NULL)
        return json_string("");
    if (crypto_sha256(*value, strlen(*value), digest) != PP_OK)
        return NULL;
    memcpy(text, SECRET_SHOWN_PREFIX, sizeof SECRET_SHOWN_PREFIX);
    crypto_hex(digest, 6, text + sizeof SECRET_SHOWN_PREFIX - 1);
    return json_string(text);
}

json_t *show_accounts(const struct option *option, const void *field)
{
    const struct id_list *value = field;
    json_t *list = json_array();

    (void)option;
    for (size_t i = 0; list != NULL && i < value->count; i++)
        list = append(list, json_stringn(value->names[i].p, value->names[i].n));
    return list;
}

/* The same names may have become other ids. */
bool same_accounts(const void *field, const void *other_field)
{
    const struct id_list *a = field, *b = other_field;
    return a->count == b->count && (a->count == 0 || memcmp(a->items, b->items, a->count * sizeof *a->items) == 0);
}

json_t *show_mode(const struct option *option, const void *field)
{
    const mode_t *value = field;
    char text[16];

    (void)option;
    (void)snprintf(text, sizeof text, "%04o", (unsigned)*value);
    return json_string(text);
}

json_t *show_owner(const struct option *option, const void *field)
{
    const struct unix_access *access = field;
    (void)option;
    return json_string(access->owner_name);
}

json_t *show_owner_group(const struct option *option, const void *field)
{
    const struct unix_access *access = field;
    (void)option;
    return json_string(access->group_name);
}

bool same_owner(const void *field, const void *other_field)
{
    const struct unix_access *a = field, *b = other_field;
    return a->owner_set == b->owner_set && a->owner == b->owner;
}

bool same_owner_group(const void *field, const void *other_field)
{
    const struct unix_access *a = field, *b = other_field;
    return a->group_set == b->group_set && a->group == b->group;
}

json_t *show_header_line(const struct option *option, const void *field)
{
    const struct environment_config *environment = field;

    (void)option;
    if (environment->require_name.n == 0)
        return json_string("");
    return json_sprintf("%.*s: %.*s", (int)environment->require_name.n, environment->require_name.p,
                        (int)environment->require_value.n, environment->require_value.p);
}
