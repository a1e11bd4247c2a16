/* Small SVG charts of one hour, for the status page. Pure. */
#ifndef PP_DAEMON_PAGE_CHART_H
#define PP_DAEMON_PAGE_CHART_H

#include "base/buf.h"
#include "daemon/history.h"

/* Each appends one <figure>: bars of requests with the errors among them, or lines of median and 99th percentile. */
void page_chart_requests(struct buf *out, const struct history *h);
void page_chart_latency(struct buf *out, const struct history *h);

#endif
