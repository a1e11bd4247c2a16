/* The types of keys: how each reads its value from the file, and what it makes of it. */
#include "config/option_types.h"

#include "base/crypto.h"
#include "base/token_format.h"
#include "config/address.h"
#include "config/value.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void read_boolean(const struct option_reader *reader, const struct option *option, const struct node *value,
                         void *field)
{
    bool *out = field;
    (void)reader;
    (void)option;
    *out = value->boolean;
}

static void read_number(const struct option_reader *reader, const struct option *option, const struct node *value,
                        void *field)
{
    unsigned *out = field;

    if (option_within(option, value->integer))
        *out = (unsigned)value->integer;
    else
        reader_out_of_range(reader, option, value->line);
}

static unsigned count_cpus(void)
{
    cpu_set_t set;
    long count = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : sysconf(_SC_NPROCESSORS_ONLN);

    if (count < 1)
        return 1;
    return count > (long)LIMIT_WORKERS ? LIMIT_WORKERS : (unsigned)count;
}

static void read_workers(const struct option_reader *reader, const struct option *option, const struct node *value,
                         void *field)
{
    unsigned *out = field;

    read_number(reader, option, value, field);
    if (*out == 0)
        *out = count_cpus();
}

static void read_size(const struct option_reader *reader, const struct option *option, const struct node *value,
                      void *field)
{
    int64_t *out = field, bytes = value->integer;
    enum pp_result rc = PP_OK;

    if (value->kind == NODE_STRING)
        rc = value_size(value->string, &bytes);
    if (rc == PP_INVALID)
        reader_fault(reader, value->line, value->string, "expected a size such as 4096, \"64k\" or \"1m\"");
    else if (rc == PP_LIMIT || !option_within(option, bytes))
        reader_out_of_range(reader, option, value->line);
    else
        *out = bytes;
}

static void read_duration(const struct option_reader *reader, const struct option *option, const struct node *value,
                          void *field)
{
    static const char expected[] = "expected a duration with its unit, such as \"500ms\", \"30s\", \"5m\" or \"24h\"";
    msec *out = field, duration = 0;
    enum pp_result rc = PP_OK;

    if (value->kind == NODE_STRING)
        rc = value_duration(value->string, &duration);
    if (rc == PP_INVALID || (value->kind == NODE_INTEGER && value->integer != 0))
        reader_fault(reader, value->line, value->kind == NODE_STRING ? value->string : STR_NONE, expected);
    else if (rc == PP_LIMIT || !option_within(option, duration))
        reader_out_of_range(reader, option, value->line);
    else
        *out = duration;
}

static void read_choice_number(const struct option_reader *reader, const struct option *option,
                               const struct node *value, void *field)
{
    const struct option_choice *choice = option_find_choice(option, value->string);

    if (choice == NULL) {
        reader_no_such_choice(reader, option, value, value->string);
    } else if (option->size == sizeof(bool)) {
        bool flag = choice->value != 0;
        memcpy(field, &flag, sizeof flag);
    } else {
        memcpy(field, &choice->value, sizeof choice->value);
    }
}

static void read_choice_text(const struct option_reader *reader, const struct option *option, const struct node *value,
                             void *field)
{
    const struct option_choice *choice = option_find_choice(option, value->string);
    const char **out = field;

    if (choice == NULL)
        reader_no_such_choice(reader, option, value, value->string);
    else
        *out = choice->text;
}

/* A string that may be empty, otherwise `check` must find it right. */
static void read_text(const struct option_reader *reader, const struct node *value, bool repeat, const char **out,
                      const char *(*check)(struct str))
{
    const char *phrase = value->string.n == 0 ? NULL : check(value->string);

    if (phrase != NULL) {
        reader_fault(reader, value->line, repeat ? value->string : STR_NONE, phrase);
        return;
    }
    *out = memory_copy(reader->memory, value->string);
    if (*out == NULL)
        reader_out_of_memory(reader);
}

static void read_origin(const struct option_reader *reader, const struct option *option, const struct node *value,
                        void *field)
{
    (void)option;
    read_text(reader, value, true, field, address_origin_fault);
}

static void read_file(const struct option_reader *reader, const struct option *option, const struct node *value,
                      void *field)
{
    (void)option;
    read_text(reader, value, true, field, value_path_fault);
}

static void read_interface(const struct option_reader *reader, const struct option *option, const struct node *value,
                           void *field)
{
    (void)option;
    read_text(reader, value, true, field, value_interface_fault);
}

static void read_proxy(const struct option_reader *reader, const struct option *option, const struct node *value,
                       void *field)
{
    (void)option;
    read_text(reader, value, false, field, address_proxy_fault); /* may hold a password */
}

static void read_base_url(const struct option_reader *reader, const struct option *option, const struct node *value,
                          void *field)
{
    const char *phrase = NULL;

    (void)option;
    enum pp_result rc = address_parse_base_url(reader->memory, value->string, field, &phrase);
    if (rc == PP_NOMEM)
        reader_out_of_memory(reader);
    else if (rc != PP_OK) /* the text may hold a password before an "@", so it is repeated only without one */
        reader_fault(reader, value->line,
                     memchr(value->string.p, '@', value->string.n) == NULL ? value->string : STR_NONE, phrase);
}

/* credential:NAME, the file systemd passes by LoadCredential=. */
static void read_credential(const struct option_reader *reader, const struct node *value, const char *name,
                            struct environment_config *environment)
{
    const char *phrase = value_credential_fault(str_of(name)), *directory = getenv("CREDENTIALS_DIRECTORY");

    if (phrase == NULL && (directory == NULL || directory[0] != '/'))
        phrase = "the environment variable CREDENTIALS_DIRECTORY is not set; systemd sets it for units with "
                 "LoadCredential= (systemd.exec(5)), elsewhere name the token file by its path";
    if (phrase != NULL) {
        reader_fault(reader, value->line, STR_NONE, phrase);
        return;
    }
    size_t size = strlen(directory) + 1 + strlen(name) + 1;
    char *path = memory_take(reader->memory, size);
    if (path == NULL) {
        reader_out_of_memory(reader);
        return;
    }
    (void)snprintf(path, size, "%s/%s", directory, name);
    environment->token_source = TOKEN_SOURCE_CREDENTIAL;
    environment->token_path = path;
}

/* Never repeats the value: a token is easily put here by mistake. */
static void read_token_file(const struct option_reader *reader, const struct option *option, const struct node *value,
                            void *field)
{
    struct environment_config *environment = field;
    const char *text = memory_copy(reader->memory, value->string);

    (void)option;
    if (text == NULL) {
        reader_out_of_memory(reader);
        return;
    }
    environment->token_file = text;
    if (str_starts(value->string, STR("credential:"))) {
        read_credential(reader, value, text + 11, environment);
    } else if (value->string.n > 0) {
        const char *phrase = value_path_fault(value->string);
        if (phrase != NULL)
            reader_fault(reader, value->line, STR_NONE, phrase);
        environment->token_source = TOKEN_SOURCE_FILE;
        environment->token_path = text;
    }
}

static void read_secret(const struct option_reader *reader, const struct option *option, const struct node *value,
                        void *field)
{
    struct str token = token_format_trim(value->string);
    char **out = field;
    const char *what = NULL;
    size_t offset = 0;

    (void)option;
    if (token.n == 0)
        return; /* as if the key were not there */
    if (str_starts(token, STR(SECRET_SHOWN_PREFIX))) {
        reader_fault(reader, value->line, STR_NONE,
                     "this is a fingerprint as \"proofproxy config\" prints it: write the token, or use token_file");
        return;
    }
    if (token_format_check(token, &offset, &what) != PP_OK) {
        report_add(reader->report, value->line, reader->key, "byte %zu: %s", offset, what);
        return;
    }
    char *copy = secret_alloc(token.n + 1);
    if (copy == NULL) {
        reader_out_of_memory(reader);
        return;
    }
    memcpy(copy, token.p, token.n);
    copy[token.n] = '\0';
    *out = copy;
}

static void read_mode(const struct option_reader *reader, const struct option *option, const struct node *value,
                      void *field)
{
    (void)option;
    if (value->kind != NODE_STRING)
        reader_fault(reader, value->line, STR_NONE, "expected the mode in quotes, such as \"0660\"");
    else if (value_mode(value->string, field) != PP_OK)
        reader_fault(reader, value->line, value->string,
                     "expected three or four octal digits up to 0777, such as \"0660\"");
}

static void read_owner(const struct option_reader *reader, const struct option *option, const struct node *value,
                       void *field)
{
    struct unix_access *access = field;
    uint32_t id = 0;

    (void)option;
    access->owner_name = memory_copy(reader->memory, value->string);
    if (access->owner_name == NULL) {
        reader_out_of_memory(reader);
    } else if (value->string.n > 0 &&
               reader_account(reader, value->line, access->owner_name, value_user, "user", &id)) {
        access->owner_set = true;
        access->owner = id;
    }
}

static void read_owner_group(const struct option_reader *reader, const struct option *option, const struct node *value,
                             void *field)
{
    struct unix_access *access = field;
    uint32_t id = 0;

    (void)option;
    access->group_name = memory_copy(reader->memory, value->string);
    if (access->group_name == NULL) {
        reader_out_of_memory(reader);
    } else if (value->string.n > 0 &&
               reader_account(reader, value->line, access->group_name, value_group, "group", &id)) {
        access->group_set = true;
        access->group = id;
    }
}

static void read_header_line(const struct option_reader *reader, const struct option *option, const struct node *value,
                             void *field)
{
    struct environment_config *environment = field;
    char *copy = memory_copy(reader->memory, value->string);

    (void)option;
    if (copy == NULL) {
        reader_out_of_memory(reader);
    } else if (value->string.n > 0) {
        const char *phrase = value_header_fault((struct str){copy, value->string.n}, &environment->require_name,
                                                &environment->require_value);
        if (phrase != NULL)
            reader_fault(reader, value->line, value->string, phrase);
    }
}

const struct option_type option_boolean = {
    .name = "boolean",
    .expects = "true or false",
    .kinds = NODE_BOOLEAN,
    .read = read_boolean,
    .show = show_boolean,
};
const struct option_type option_number = {
    .name = "integer",
    .expects = "a number without quotes",
    .kinds = NODE_INTEGER,
    .read = read_number,
    .show = show_number,
};
const struct option_type option_workers = {
    .name = "integer",
    .expects = "a number without quotes",
    .kinds = NODE_INTEGER,
    .read = read_workers,
    .show = show_number,
};
const struct option_type option_size = {
    .name = "size",
    .expects = "a size such as 4096, \"64k\" or \"1m\"",
    .kinds = NODE_INTEGER | NODE_STRING,
    .read = read_size,
    .show = show_size,
};
const struct option_type option_duration = {
    .name = "duration",
    .expects = "a duration in quotes, such as \"30s\"",
    .kinds = NODE_INTEGER | NODE_STRING,
    .read = read_duration,
    .show = show_duration,
};
const struct option_type option_choice_number = {
    .name = "choice",
    .expects = "a word in quotes",
    .kinds = NODE_STRING,
    .read = read_choice_number,
    .show = show_choice_number,
};
const struct option_type option_choice_text = {
    .name = "choice",
    .expects = "a version in quotes, such as \"1.2\"",
    .kinds = NODE_STRING,
    .read = read_choice_text,
    .show = show_text,
};
const struct option_type option_choice_set = {
    .name = "list of choices",
    .expects = "a list such as [ \"connect\", \"503\" ]",
    .kinds = NODE_LIST,
    .read = read_choice_set,
    .show = show_choice_set,
};
const struct option_type option_listeners = {
    .name = "list of addresses",
    .expects = "a list such as [ \"127.0.0.1:8780\" ]",
    .kinds = NODE_LIST,
    .read = read_listeners,
    .show = show_listeners,
};
const struct option_type option_base_url = {
    .name = "URL",
    .expects = "a URL in quotes",
    .kinds = NODE_STRING,
    .read = read_base_url,
    .show = show_base_url,
};
const struct option_type option_token_file = {
    .name = "path",
    .expects = "a path in quotes",
    .kinds = NODE_STRING,
    .read = read_token_file,
    .show = show_token_file,
    .same = same_token_path,
};
const struct option_type option_secret = {
    .name = "token",
    .expects = "a token in quotes",
    .kinds = NODE_STRING,
    .read = read_secret,
    .show = show_secret,
};
const struct option_type option_paths = {
    .name = "list of URL paths",
    .expects = "a list such as [ \"/widget/\", \"/ws\" ]",
    .kinds = NODE_LIST,
    .read = read_paths,
    .show = show_list,
};
const struct option_type option_hosts = {
    .name = "list of host names",
    .expects = "a list such as [ \"proofproxy.internal\" ]",
    .kinds = NODE_LIST,
    .read = read_hosts,
    .show = show_list,
};
const struct option_type option_origins = {
    .name = "list of origins",
    .expects = "a list such as [ \"https://app.example\" ]",
    .kinds = NODE_LIST,
    .read = read_origins,
    .show = show_list,
};
const struct option_type option_methods = {
    .name = "list of methods",
    .expects = "a list such as [ \"GET\", \"HEAD\" ]",
    .kinds = NODE_LIST,
    .read = read_methods,
    .show = show_list,
};
const struct option_type option_pins = {
    .name = "list of digests",
    .expects = "a list such as [ \"BASE64\" ]",
    .kinds = NODE_LIST,
    .read = read_pins,
    .show = show_list,
};
const struct option_type option_origin = {
    .name = "origin",
    .expects = "an origin in quotes",
    .kinds = NODE_STRING,
    .read = read_origin,
    .show = show_text,
};
const struct option_type option_file = {
    .name = "path",
    .expects = "a path in quotes",
    .kinds = NODE_STRING,
    .read = read_file,
    .show = show_text,
};
const struct option_type option_proxy = {
    .name = "URL",
    .expects = "a URL in quotes",
    .kinds = NODE_STRING,
    .read = read_proxy,
    .show = show_proxy,
    .same = same_proxy,
};
const struct option_type option_interface = {
    .name = "interface",
    .expects = "a name in quotes",
    .kinds = NODE_STRING,
    .read = read_interface,
    .show = show_text,
};
const struct option_type option_users = {
    .name = "list of users",
    .expects = "a list such as [ \"app\", \"1001\" ]",
    .kinds = NODE_LIST,
    .read = read_users,
    .show = show_accounts,
    .same = same_accounts,
};
const struct option_type option_groups_of_host = {
    .name = "list of groups",
    .expects = "a list such as [ \"apps\" ]",
    .kinds = NODE_LIST,
    .read = read_groups,
    .show = show_accounts,
    .same = same_accounts,
};
const struct option_type option_mode = {
    .name = "file mode",
    .expects = "the mode in quotes, such as \"0660\"",
    .kinds = NODE_INTEGER | NODE_STRING,
    .read = read_mode,
    .show = show_mode,
};
const struct option_type option_owner = {
    .name = "user",
    .expects = "a user's name or number in quotes",
    .kinds = NODE_STRING,
    .read = read_owner,
    .show = show_owner,
    .same = same_owner,
};
const struct option_type option_owner_group = {
    .name = "group",
    .expects = "a group's name or number in quotes",
    .kinds = NODE_STRING,
    .read = read_owner_group,
    .show = show_owner_group,
    .same = same_owner_group,
};
const struct option_type option_header_line = {
    .name = "header line",
    .expects = "a header line in quotes",
    .kinds = NODE_STRING,
    .read = read_header_line,
    .show = show_header_line,
};
