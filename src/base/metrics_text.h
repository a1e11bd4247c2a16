/* The Prometheus text exposition format, version 0.0.4: one family's head, then its samples. Pure.
 *
 * Failures are kept in the buffer's `failed`; look at it once in the end. */
#ifndef PP_BASE_METRICS_TEXT_H
#define PP_BASE_METRICS_TEXT_H

#include "base/buf.h"

#include <stdint.h>

struct metrics_label {
    const char *name;
    const char *value; /* any text: escaped */
};

/* The HELP and TYPE lines; `type` is "counter", "gauge" or "histogram". Once per family, before its samples. */
void metrics_text_family(struct buf *out, const char *name, const char *type, const char *help);

/* One sample; labels with an empty or NULL value are left out, as the format treats the two alike. */
void metrics_text_sample(struct buf *out, const char *name, const struct metrics_label *labels, size_t count,
                         double value);
/* A whole family of one gauge without labels. */
void metrics_text_gauge(struct buf *out, const char *name, const char *help, double value);
/* A sample as above, for whole numbers, exact up to 64 bits. */
void metrics_text_count(struct buf *out, const char *name, const struct metrics_label *labels, size_t count,
                        uint64_t value);

#endif
