/* What doctor found: one entry per check, for people or as JSON. */
#ifndef PP_CLI_DOCTOR_REPORT_H
#define PP_CLI_DOCTOR_REPORT_H

#include "base/result.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

enum finding { FINDING_OK, FINDING_WARNING, FINDING_FAILED, FINDING_SKIPPED };

struct doctor_report {
    json_t *checks; /* array of objects, the report as it is printed */
    bool as_json;   /* else each check is printed as soon as it is known */
    unsigned failed;
    const char *environment; /* of the checks that follow; NULL: of the whole daemon */
};

/* PP_NOMEM otherwise. */
enum pp_result doctor_report_init(struct doctor_report *r, bool as_json) PP_MUST_CHECK;

/* One check: its name ("tls"), how it went, what was seen, and what to do (NULL: nothing). */
void doctor_say(struct doctor_report *r, enum finding finding, const char *check, const char *advice,
                const char *format, ...) PP_PRINTF(5, 6);

/* Prints the JSON or the closing line, and lets go of everything. Returns the exit status. */
int doctor_report_end(struct doctor_report *r);

#endif
