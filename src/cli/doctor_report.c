/* Collects and prints doctor's findings. */
#include "cli/doctor_report.h"

#include "base/json_text.h"
#include "cli/cli.h"

#include <stdarg.h>

static const char *const names[] = {"ok", "warning", "failed", "skipped"};

enum pp_result doctor_report_init(struct doctor_report *r, bool as_json)
{
    *r = (struct doctor_report){.checks = json_array(), .as_json = as_json};
    return r->checks == NULL ? PP_NOMEM : PP_OK;
}

static void print(enum finding finding, const char *check, const char *text, const char *advice)
{
    static const char *const words[] = {"ok", "WARNING", "FAILED", "skipped"};
    (void)printf("  %-8s %-15s %s\n", words[finding], check, text);
    if (advice != NULL)
        (void)printf("  %-8s %-15s -> %s\n", "", "", advice);
    (void)fflush(stdout); /* a slow check should not hide the ones before */
}

void doctor_say(struct doctor_report *r, enum finding finding, const char *check, const char *advice,
                const char *format, ...)
{
    char text[1024];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    r->failed += finding == FINDING_FAILED;
    if (!r->as_json)
        print(finding, check, text, advice);
    (void)json_array_append_new(r->checks,
                                json_pack("{s:o, s:s, s:s, s:o, s:o}", "environment", json_text_or_null(r->environment),
                                          "check", check, "result", names[finding], "text", json_text(str_of(text)),
                                          "advice", json_text_or_null(advice)));
}

int doctor_report_end(struct doctor_report *r)
{
    if (r->as_json) {
        json_t *root = json_pack("{s:b, s:i, s:o}", "ok", r->failed == 0, "failed", (int)r->failed, "checks",
                                 json_incref(r->checks));
        if (root != NULL)
            (void)json_dumpf(root, stdout, JSON_INDENT(2));
        (void)putchar('\n');
        json_decref(root);
    } else if (r->failed == 0) {
        (void)puts("\nno problem found");
    } else {
        (void)printf("\n%u %s\n", r->failed, r->failed == 1 ? "check failed" : "checks failed");
    }
    json_decref(r->checks);
    return r->failed == 0 ? CLI_OK : CLI_FOUND;
}
