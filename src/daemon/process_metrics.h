/* What the kernel says of this process, under the names every Prometheus client uses: process_*. */
#ifndef PP_DAEMON_PROCESS_METRICS_H
#define PP_DAEMON_PROCESS_METRICS_H

#include "base/buf.h"

#include <stdint.h>

/* Appends the families; what the kernel does not tell is left out. `started`: wall ms. */
void process_metrics_write(struct buf *out, int64_t started);

#endif
