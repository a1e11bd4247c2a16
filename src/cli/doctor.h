/* The parts of the doctor command: each adds its findings to the report. */
#ifndef PP_CLI_DOCTOR_H
#define PP_CLI_DOCTOR_H

#include "cli/cli.h"
#include "cli/doctor_report.h"
#include "config/config.h"
#include "token/file.h"

struct upstream_tls;

/* Is the daemon running, and content? `admin` as of --admin. What is wrong with environments other than `only` (NULL:
 * all are asked about) is not said. (doctor_local.c) */
void doctor_daemon(struct doctor_report *r, const char *config_path, const char *admin, const char *only);
/* Where the tokens come from: readable, closed to others, well-formed. Fills `out`, maybe with none. (doctor_local.c)
 */
void doctor_token_file(struct doctor_report *r, const struct environment_config *e, struct token_set *out);
/* Does each listener answer as a proofproxy? (doctor_local.c) */
void doctor_listeners(struct doctor_report *r, const struct environment_config *e);

/* Name lookup, TCP, source address, TLS; false: there is no road to ask anything on. (doctor_road.c) */
bool doctor_road(struct doctor_report *r, const struct environment_config *e, struct upstream_tls **tls);

/* Every token tried, the clock compared, a WebSocket asked for. (doctor_api.c) */
void doctor_api(struct doctor_report *r, const struct environment_config *e, struct upstream_tls *tls,
                const struct token_set *tokens);

#endif
