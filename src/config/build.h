/* From a parsed file to the effective config: defaults, types, ranges, unknown keys; then the rules across keys. */
#ifndef PP_CONFIG_BUILD_H
#define PP_CONFIG_BUILD_H

#include "config/options.h"

/* Where each option of one struct stood in the file; 0 = it did not, the default is in force. */
struct option_lines {
    int line[OPTION_COUNT_MAX];
};

struct config_build {
    struct config *config; /* being filled */
    struct memory *memory; /* of the config */
    struct memory scratch; /* of the file's text, the tree and the report */
    struct report report;
    mode_t mode; /* permissions of the file */
    struct option_lines global;
    struct option_lines environments[LIMIT_ENVIRONMENTS];
    struct node standards[SCOPE_COUNT]; /* the defaults, parsed */
};

/* Fills build->config from the tree. Faults go to the report; PP_NOMEM only when there is nothing to report. */
enum pp_result build_config(struct config_build *build, const struct node *root) PP_MUST_CHECK;

/* The line of an option for an error about it: its own, else that of the environment. `environment` is NULL for the
 * global ones. */
int build_line(const struct config_build *build, const struct environment_config *environment, enum option_scope scope,
               const char *name);

/* The rules that concern more than one key: listeners, own listeners as base URL, token sources, secrets in a file
 * everybody can read. Faults go to the report. */
void validate_config(struct config_build *build);

#endif
