/* Every key of the config file, in one table: what parses, checks, prints, compares and documents them. */
#ifndef PP_CONFIG_OPTIONS_H
#define PP_CONFIG_OPTIONS_H

#include "config/memory.h"
#include "config/report.h"
#include "config/tree.h"

struct json_t; /* jansson's */
struct option;

/* The groups keys stand in. Those up to SCOPE_ADMIN set fields of struct config, the others of struct
 * environment_config. */
enum option_scope { SCOPE_TOP, SCOPE_LOG, SCOPE_ADMIN, SCOPE_ENVIRONMENT, SCOPE_RETRIES, SCOPE_TLS, SCOPE_EGRESS };
#define SCOPE_COUNT 7u

/* Reading one key: where to and who hears of faults. */
struct option_reader {
    struct memory *memory; /* of the config: what the fields point to */
    struct report *report;
    const char *key; /* dotted path */
};

struct option_type {
    const char *name;    /* for documentation: "duration" */
    const char *expects; /* the end of "expected ...", for a value of another kind */
    unsigned kinds;      /* enum node_kind bits it takes */

    /* Sets the field from a value of one of the kinds; faults go to the report. */
    void (*read)(const struct option_reader *reader, const struct option *option, const struct node *value,
                 void *field);

    /* The value as in the file, secrets as fingerprints: a new reference, NULL when out of memory. */
    struct json_t *(*show)(const struct option *option, const void *field);

    /* For values whose shown form may be equal while they are not; NULL for the others. */
    bool (*same)(const void *field, const void *other_field);
};

struct option_choice {
    const char *text;
    unsigned value;
};

struct option {
    const char *name;
    enum option_scope scope;
    const struct option_type *type;
    size_t offset, size;                 /* of the field */
    const char *standard;                /* the default, in the file's syntax; NULL: the key is required */
    int64_t least, most;                 /* range, where the type has one; of a list: number of items */
    bool zero;                           /* 0 is allowed too, and means "off" or "none" */
    bool restart;                        /* a change needs a restart, not a reload */
    const char *help;                    /* one line, for "proofproxy config --keys" */
    const struct option_choice *choices; /* for the types that have them; ended by one without text */
};

extern const struct option options[];
extern const size_t option_count;
#define OPTION_COUNT_MAX 64u

/* The key a scope's group has in its parent's group: "retries" in SCOPE_ENVIRONMENT. SCOPE_TOP and SCOPE_ENVIRONMENT
 * have none: their key is "". */
extern const struct option_group {
    const char *name;
    enum option_scope parent;
} option_groups[SCOPE_COUNT];

/* "environments.production.retries.attempts", or with environment NULL "log.level". Cut when it does not fit. */
#define OPTION_KEY_SIZE 128u
void option_key(const struct option *option, const char *environment, char out[static OPTION_KEY_SIZE]);
void option_scope_key(enum option_scope scope, const char *environment, const char *name,
                      char out[static OPTION_KEY_SIZE]);

/* The option of that name in that scope, or NULL. */
const struct option *option_find(enum option_scope scope, const char *name);

/* The field in its struct. */
static inline void *option_field(const struct option *option, void *base)
{
    return (char *)base + option->offset;
}
static inline const void *option_const_field(const struct option *option, const void *base)
{
    return (const char *)base + option->offset;
}

/* The struct its field is in: the config, or the environment. */
static inline bool option_is_global(const struct option *option)
{
    return option->scope <= SCOPE_ADMIN;
}

/* "0, or 100ms to 24h", "1 to 64", "one of a, b", or "" when there is no range to speak of. */
void option_range(const struct option *option, struct buf *out);

/* The types, in option_types.c. The comment says what the field is. */
extern const struct option_type option_boolean;        /* bool */
extern const struct option_type option_number;         /* unsigned */
extern const struct option_type option_workers;        /* unsigned; 0 becomes the number of CPUs */
extern const struct option_type option_size;           /* int64_t, bytes */
extern const struct option_type option_duration;       /* msec */
extern const struct option_type option_choice_number;  /* an enum or bool: the choice's value */
extern const struct option_type option_choice_text;    /* const char *: the choice's text */
extern const struct option_type option_choice_set;     /* unsigned: the choices' values together */
extern const struct option_type option_listeners;      /* struct listen_list */
extern const struct option_type option_base_url;       /* struct base_url */
extern const struct option_type option_token_file;     /* the whole struct environment_config */
extern const struct option_type option_secret;         /* char *, in secret memory; NULL for none */
extern const struct option_type option_paths;          /* struct str_list */
extern const struct option_type option_hosts;          /* struct str_list */
extern const struct option_type option_origins;        /* struct str_list */
extern const struct option_type option_methods;        /* struct str_list */
extern const struct option_type option_pins;           /* struct str_list */
extern const struct option_type option_origin;         /* const char * */
extern const struct option_type option_file;           /* const char * */
extern const struct option_type option_proxy;          /* const char * */
extern const struct option_type option_interface;      /* const char * */
extern const struct option_type option_users;          /* struct id_list */
extern const struct option_type option_groups_of_host; /* struct id_list */
extern const struct option_type option_mode;           /* mode_t */
extern const struct option_type option_owner;          /* the whole struct unix_access */
extern const struct option_type option_owner_group;    /* the whole struct unix_access */
extern const struct option_type option_header_line;    /* the whole struct environment_config */

#endif
