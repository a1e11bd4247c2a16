/* The types of keys whose value is a list. */
#include "config/option_types.h"

#include "config/address.h"
#include "config/value.h"

#include <stdio.h>

/* The text of a list's item: a string, or a number where numbers stand for text (502, a uid). False: neither, and that
 * was reported. The view may point into `number`. */
static bool item_text(const struct option_reader *reader, const struct node *item, bool numbers,
                      char number[static VALUE_NUMBER_SIZE], struct str *out)
{
    if (item->kind == NODE_STRING) {
        *out = item->string;
        return true;
    }
    if (numbers && item->kind == NODE_INTEGER && item->integer >= 0) {
        (void)snprintf(number, VALUE_NUMBER_SIZE, "%lld", (long long)item->integer);
        *out = str_of(number);
        return true;
    }
    reader_fault(reader, item->line, STR_NONE, "expected a list of strings in quotes");
    return false;
}

/* Is the number of items within range? Reports it if not. */
static bool count_fits(const struct option_reader *reader, const struct option *option, const struct node *value)
{
    if (option_within(option, (int64_t)value->count))
        return true;
    reader_out_of_range(reader, option, value->line);
    return false;
}

void read_choice_set(const struct option_reader *reader, const struct option *option, const struct node *value,
                     void *field)
{
    unsigned *out = field, set = 0;
    char number[VALUE_NUMBER_SIZE];
    struct str text;

    for (size_t i = 0; i < value->count; i++) {
        if (!item_text(reader, &value->children[i], true, number, &text))
            continue;
        const struct option_choice *choice = option_find_choice(option, text);
        if (choice == NULL)
            reader_no_such_choice(reader, option, &value->children[i], text);
        else
            set |= choice->value;
    }
    *out = set;
}

/* A list of strings, each of which `check` finds right. */
static void read_list(const struct option_reader *reader, const struct option *option, const struct node *value,
                      struct str_list *out, const char *(*check)(struct str))
{
    char number[VALUE_NUMBER_SIZE];

    if (!count_fits(reader, option, value))
        return;
    out->items = memory_take(reader->memory, value->count * sizeof *out->items);
    if (out->items == NULL) {
        reader_out_of_memory(reader);
        return;
    }
    for (size_t i = 0; i < value->count; i++) {
        const struct node *item = &value->children[i];
        struct str text;
        if (!item_text(reader, item, false, number, &text))
            continue;
        const char *phrase = check(text);
        if (phrase != NULL) {
            reader_fault(reader, item->line, text, phrase);
            continue;
        }
        char *copy = memory_copy(reader->memory, text);
        if (copy == NULL)
            reader_out_of_memory(reader);
        else
            out->items[out->count++] = (struct str){copy, text.n};
    }
}

void read_paths(const struct option_reader *reader, const struct option *option, const struct node *value, void *field)
{
    read_list(reader, option, value, field, value_url_path_fault);
}

void read_hosts(const struct option_reader *reader, const struct option *option, const struct node *value, void *field)
{
    read_list(reader, option, value, field, address_host_fault);
}

void read_origins(const struct option_reader *reader, const struct option *option, const struct node *value,
                  void *field)
{
    read_list(reader, option, value, field, address_origin_fault);
}

void read_methods(const struct option_reader *reader, const struct option *option, const struct node *value,
                  void *field)
{
    read_list(reader, option, value, field, value_retry_method_fault);
}

void read_pins(const struct option_reader *reader, const struct option *option, const struct node *value, void *field)
{
    read_list(reader, option, value, field, value_spki_fault);
}

void read_listeners(const struct option_reader *reader, const struct option *option, const struct node *value,
                    void *field)
{
    struct listen_list *out = field;
    char number[VALUE_NUMBER_SIZE];

    if (!count_fits(reader, option, value))
        return;
    out->items = memory_take(reader->memory, value->count * sizeof *out->items);
    if (out->items == NULL) {
        reader_out_of_memory(reader);
        return;
    }
    for (size_t i = 0; i < value->count; i++) {
        const struct node *item = &value->children[i];
        struct listen_address *address = &out->items[out->count];
        const char *phrase = NULL;
        struct str text;
        if (!item_text(reader, item, false, number, &text))
            continue;
        enum pp_result rc = address_parse_listen(reader->memory, text, address, &phrase);
        if (rc == PP_NOMEM) {
            reader_out_of_memory(reader);
        } else if (rc != PP_OK) {
            reader_fault(reader, item->line, text, phrase);
        } else {
            address->line = item->line;
            out->count++;
        }
    }
}

static void read_accounts(const struct option_reader *reader, const struct option *option, const struct node *value,
                          struct id_list *out, enum pp_result (*resolve)(const char *, uint32_t *), const char *kind)
{
    char number[VALUE_NUMBER_SIZE];

    if (!count_fits(reader, option, value))
        return;
    out->items = memory_take(reader->memory, value->count * sizeof *out->items);
    out->names = memory_take(reader->memory, value->count * sizeof *out->names);
    if (out->items == NULL || out->names == NULL) {
        reader_out_of_memory(reader);
        return;
    }
    for (size_t i = 0; i < value->count; i++) {
        const struct node *item = &value->children[i];
        struct str text;
        uint32_t id = 0;
        if (!item_text(reader, item, true, number, &text))
            continue;
        char *copy = memory_copy(reader->memory, text);
        if (copy == NULL) {
            reader_out_of_memory(reader);
        } else if (reader_account(reader, item->line, copy, resolve, kind, &id)) {
            out->names[out->count] = (struct str){copy, text.n};
            out->items[out->count++] = id;
        }
    }
}

void read_users(const struct option_reader *reader, const struct option *option, const struct node *value, void *field)
{
    read_accounts(reader, option, value, field, value_user, "user");
}

void read_groups(const struct option_reader *reader, const struct option *option, const struct node *value, void *field)
{
    read_accounts(reader, option, value, field, value_group, "group");
}
