/* The parts the types of keys are made of, joined by the table in option_types.c. Internal to options. */
#ifndef PP_CONFIG_OPTION_TYPES_H
#define PP_CONFIG_OPTION_TYPES_H

#include "config/options.h"

/* Adds a fault. `text` is repeated, so it is never that of a key that may hold a secret; STR_NONE repeats nothing. */
void reader_fault(const struct option_reader *reader, int line, struct str text, const char *phrase);
void reader_out_of_memory(const struct option_reader *reader);
void reader_out_of_range(const struct option_reader *reader, const struct option *option, int line);

/* Is the number in the option's range? */
bool option_within(const struct option *option, int64_t number);

/* The choice of that text, or NULL; then reader_no_such_choice says what there is. */
const struct option_choice *option_find_choice(const struct option *option, struct str text);
void reader_no_such_choice(const struct option_reader *reader, const struct option *option, const struct node *value,
                           struct str text);

/* The id of one account by value_user or value_group; `kind` is "user" or "group". False: what is wrong was reported.
 */
bool reader_account(const struct option_reader *reader, int line, const char *text,
                    enum pp_result (*resolve)(const char *, uint32_t *), const char *kind, uint32_t *id);

/* As option_type.read, of the types whose value is a list. */
void read_choice_set(const struct option_reader *reader, const struct option *option, const struct node *value,
                     void *field);
void read_paths(const struct option_reader *reader, const struct option *option, const struct node *value, void *field);
void read_hosts(const struct option_reader *reader, const struct option *option, const struct node *value, void *field);
void read_origins(const struct option_reader *reader, const struct option *option, const struct node *value,
                  void *field);
void read_methods(const struct option_reader *reader, const struct option *option, const struct node *value,
                  void *field);
void read_pins(const struct option_reader *reader, const struct option *option, const struct node *value, void *field);
void read_listeners(const struct option_reader *reader, const struct option *option, const struct node *value,
                    void *field);
void read_users(const struct option_reader *reader, const struct option *option, const struct node *value, void *field);
void read_groups(const struct option_reader *reader, const struct option *option, const struct node *value,
                 void *field);

/* All as option_type.show: a new reference, NULL when out of memory. */
struct json_t *show_boolean(const struct option *option, const void *field);
struct json_t *show_number(const struct option *option, const void *field);
struct json_t *show_size(const struct option *option, const void *field);
struct json_t *show_duration(const struct option *option, const void *field);
struct json_t *show_choice_number(const struct option *option, const void *field);
struct json_t *show_choice_set(const struct option *option, const void *field);
struct json_t *show_text(const struct option *option, const void *field);
struct json_t *show_proxy(const struct option *option, const void *field);
struct json_t *show_list(const struct option *option, const void *field);
struct json_t *show_listeners(const struct option *option, const void *field);
struct json_t *show_base_url(const struct option *option, const void *field);
struct json_t *show_token_file(const struct option *option, const void *field);
struct json_t *show_secret(const struct option *option, const void *field);
struct json_t *show_accounts(const struct option *option, const void *field);
struct json_t *show_mode(const struct option *option, const void *field);
struct json_t *show_owner(const struct option *option, const void *field);
struct json_t *show_owner_group(const struct option *option, const void *field);
struct json_t *show_header_line(const struct option *option, const void *field);

/* As option_type.same. */
bool same_proxy(const void *field, const void *other_field);
bool same_accounts(const void *field, const void *other_field);
bool same_owner(const void *field, const void *other_field);
bool same_owner_group(const void *field, const void *other_field);
bool same_token_path(const void *field, const void *other_field);

/* What stands in the place of a token: this and its fingerprint. */
#define SECRET_SHOWN_PREFIX "fingerprint:"

/* The value of a choice field, whatever its width. */
unsigned choice_value(const struct option *option, const void *field);

#endif
