/* Lines of the Prometheus text exposition format. */
#include "base/metrics_text.h"

#include <inttypes.h>
#include <math.h>

/* Help text escapes backslash and newline, label values the double quote too. */
static void append_escaped(struct buf *out, const char *text, bool quotes)
{
    for (const char *p = text; *p != '\0'; p++) {
        if (*p == '\\')
            buf_append_str(out, STR("\\\\"));
        else if (*p == '\n')
            buf_append_str(out, STR("\\n"));
        else if (*p == '"' && quotes)
            buf_append_str(out, STR("\\\""));
        else
            buf_append_char(out, *p);
    }
}

void metrics_text_family(struct buf *out, const char *name, const char *type, const char *help)
{
    buf_printf(out, "# HELP %s ", name);
    append_escaped(out, help, false);
    buf_printf(out, "\n# TYPE %s %s\n", name, type);
}

static void append_series(struct buf *out, const char *name, const struct metrics_label *labels, size_t count)
{
    bool any = false;
    buf_append_str(out, str_of(name));
    for (size_t i = 0; i < count; i++) {
        if (labels[i].value == NULL || labels[i].value[0] == '\0')
            continue;
        buf_append_char(out, any ? ',' : '{');
        buf_append_str(out, str_of(labels[i].name));
        buf_append_str(out, STR("=\""));
        append_escaped(out, labels[i].value, true);
        buf_append_char(out, '"');
        any = true;
    }
    buf_append_str(out, any ? STR("} ") : STR(" "));
}

void metrics_text_sample(struct buf *out, const char *name, const struct metrics_label *labels, size_t count,
                         double value)
{
    append_series(out, name, labels, count);
    if (isnan(value))
        buf_append_str(out, STR("NaN\n"));
    else if (isinf(value))
        buf_append_str(out, value > 0 ? STR("+Inf\n") : STR("-Inf\n"));
    else
        buf_printf(out, "%.16g\n", value);
}

void metrics_text_gauge(struct buf *out, const char *name, const char *help, double value)
{
    metrics_text_family(out, name, "gauge", help);
    metrics_text_sample(out, name, NULL, 0, value);
}

void metrics_text_count(struct buf *out, const char *name, const struct metrics_label *labels, size_t count,
                        uint64_t value)
{
    append_series(out, name, labels, count);
    buf_printf(out, "%" PRIu64 "\n", value);
}
